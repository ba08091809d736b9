"""Exchange of a session's messages: tasks, queues and a connection around ClientSession."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress

import numpy as np
from websockets.exceptions import ConnectionClosed

from clients.errors import (
    ClientError,
    ConnectError,
    ConnectionLost,
    ServerError,
)
from clients.library.client_session import (
    ACKNOWLEDGE,
    Answered,
    ClientSession,
    Ended,
    Event,
    Opened,
)
from clients.library.clock import ClockEstimate
from clients.library.lifeline import Lifeline
from clients.library.packets import Packet, WireCount
from clients.library.refusals import explain_close
from clients.library.silence import Silence
from clients.library.socket import CLOSE_TIMEOUT, AnySocket
from clients.library.wire import ClientWire
from facodec.identity import ModelIdentity, belonging
from facodec.link.entropy import FrameCoder
from streaming.wire import protocol
from streaming.wire.protocol import Done, Hello, Presence, Ready

SILENCE = 12.0
"""A server from which nothing has come for so many s, not even the answer to a ping, is lost: well
before the server gives up a client that it hears nothing from (within 20 s)."""
LOOK_EVERY = 0.5
PRESENCE = {
    "away": "the publisher's connection was lost: the room waits for it",
    "back": "the publisher is back",
}
CLOCK_FIRST, CLOCK_EVERY = 3, 4.0
"""Questions asked before the session is handed out, and s between later ones."""
CLOCK_PATIENCE = 2.0
MAX_PACKETS = 1024
"""Packets that wait for the reader of a session. Policy when full: nothing more is taken from the
socket, so TCP holds the server back, whose own bound then decides."""


class Exchange:
    """The exchange of one session with its server. ``reopen``: opens another connection where this
    one is lost; ``tell``: gets a sentence on that.
    """

    def __init__(
        self,
        socket: AnySocket,
        hello: Hello,
        wire: WireCount | None = None,
        clock: Callable[[], float] = time.monotonic,
        coder: FrameCoder | None = None,
        reopen: Callable[[], Awaitable[AnySocket]] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._state = ClientSession(
            hello, wire, clock, ClientWire(socket.subprotocol, coder, lossy=socket.lossy)
        )
        self._line = Lifeline(socket, self, clock)
        self._subprotocol = socket.subprotocol
        self._reopen = reopen
        self._tell = tell
        self._presence: Presence | None = None
        self._owes = asyncio.Event()
        self._before = self.wire.bytes_up, self.wire.messages_up
        self._now = clock
        self._packets: asyncio.Queue[Packet | None] = asyncio.Queue(MAX_PACKETS)
        self._tasks: list[asyncio.Task[None]] = []
        self._done = asyncio.Event()
        self._failure: ClientError | None = None
        self._answers: dict[float, asyncio.Event] = {}
        self._deaf = False
        self._reader: asyncio.Task[None] | None = None

    @property
    def hello(self) -> Hello:
        """The client's wishes, as they were sent."""
        return self._state.hello

    @property
    def wire(self) -> WireCount:
        """Bytes and messages of both directions so far."""
        return self._state.wire

    @property
    def clock(self) -> ClockEstimate:
        """The server's clock, as estimated here."""
        return self._state.clock

    @property
    def ready(self) -> Ready:
        """The server's answer to the hello."""
        return self._state.ready

    @property
    def identity(self) -> ModelIdentity:
        """The model that codes and voices of this session belong to. The codes and timbres in
        packets carry it; those of another model are not sent, with a ModelMismatch."""
        return self._state.identity

    @property
    def totals(self) -> Done | None:
        """The server's totals; None before the end."""
        return self._state.totals

    @property
    def is_away(self) -> bool:
        """Whether the connection is lost, and another is tried for."""
        return self._line.is_away

    @property
    def returns(self) -> int:
        """Times that the session went on over another connection."""
        return self._line.returns

    @property
    def frames_dropped(self) -> int:
        """Frames that were lost with a connection on their way to the server: of live sound only
        the newest are sent again."""
        return self._state.frames_dropped

    @property
    def frames_skipped(self) -> int:
        """Frames that were lost with a connection on their way back."""
        return self._state.frames_skipped

    @property
    def frames_lost(self) -> int:
        """Frames that a network lost on their way back, for good."""
        return self._state.incoming.lost

    @property
    def frames_repaired(self) -> int:
        """Frames that it lost, and that were filled from a repeat."""
        return self._state.incoming.repeated

    @property
    def publisher_is_away(self) -> bool:
        """Whether the connection of the publisher that is listened to is lost."""
        return self._presence is not None and self._presence.publisher == "away"

    @property
    def transport(self) -> asyncio.Transport | None:
        """The TCP connection beneath, for who counts its bytes; None over QUIC."""
        transport = self._line.socket.transport
        return transport if isinstance(transport, asyncio.Transport) else None

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the connection, headers of WebSocket and TLS included, or nearly."""
        wire = self.wire
        sent = wire.bytes_up - self._before[0], wire.messages_up - self._before[1]
        return sent[0] + sent[1] * self._line.socket.overhead

    @property
    def unacknowledged(self) -> int:
        """Bytes of these that the other end has not acknowledged; where the system does not tell,
        those that it has not taken."""
        return self._line.socket.unacknowledged

    @property
    def talker(self) -> np.ndarray | None:
        """Talker that the server has heard by the end, timbre (256,); None before, and where it
        heard less than 3 s of voice."""
        if self.totals is None or self.totals.talker is None:
            return None
        return belonging(protocol.voice_vector(self.totals.talker), self.identity)

    @property
    def frames_sent(self) -> int:
        """Frames of audio or codes sent so far; a part counts as one."""
        return self._state.frames_sent

    async def start(self, ready_timeout: float | None) -> None:
        """Say hello and wait for ready, then estimate the server's clock. Raises as
        :class:`clients.library.connection.connect` does."""
        self._tasks = [asyncio.create_task(self._watch())]
        await self._send(self._state.open())
        try:
            await asyncio.wait_for(self._wait_ready(), ready_timeout)
        except asyncio.TimeoutError as error:
            raise ConnectError(f"the server did not answer within {ready_timeout:g} s") from error
        self._reader = asyncio.create_task(self._read())
        self._tasks.append(self._reader)
        with suppress(asyncio.TimeoutError):  # without a clock there are no stamps, no more
            await asyncio.wait_for(self._ask_time(), CLOCK_PATIENCE)
        self._tasks.append(asyncio.create_task(self._keep_time()))

    async def synchronise(self) -> None:
        """Wait until the server has taken in all that was sent: it answers in order.

        Whoever sends faster than real time waits here now and then, so that neither side's
        buffers fill with minutes of audio. Refines the clock estimate too."""
        asked = self._now()
        answered = self._answers[asked] = asyncio.Event()
        try:
            await self._send(self._state.ask(asked))
            await answered.wait()
        finally:
            del self._answers[asked]
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Hang up; safe to call again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._release()
        with suppress(asyncio.QueueFull):  # full: then nobody waits for a packet
            self._packets.put_nowait(None)
        await self._line.close()

    # ------------------------------------------------------------------ a lost connection

    async def open_again(self) -> AnySocket:
        """Another connection to the server. Raises ClientError."""
        if self._reopen is None:
            raise ConnectError("the session was opened without a way to open it again")
        return await self._reopen()

    async def ask_back(self, socket: AnySocket) -> Iterable[bytes]:
        """Comes back to the session over another connection; returns what is to be sent again.
        Raises ClientError."""
        if socket.subprotocol != self._subprotocol:
            raise ServerError("unknown-session", f"it speaks {socket.subprotocol} now")
        await socket.send(self._state.come_back())
        while True:
            for event in self._state.receive(await socket.recv(decode=False)):
                if isinstance(event, Opened):
                    if event.ready.received is None:
                        raise ServerError("unknown-session", "it was not found")
                    # Questions are not kept, and these have lost their answers.
                    self._deaf = False
                    asked = [self._state.ask(each) for each in list(self._answers)]
                    return [*self._state.lacking(event.ready), *asked]

    def tell(self, sentence: str) -> None:
        """Something about the connection, for people."""
        if self._tell is not None:
            self._tell(sentence)

    # ------------------------------------------------------------------ inside

    async def _wait_ready(self) -> None:
        while not any(isinstance(event, Opened) for event in await self._receive()):
            pass

    async def _watch(self) -> None:
        """Breaks off a connection that has gone deaf, which no end of it is told otherwise."""
        silence = Silence(SILENCE, self._now())
        seen = -1
        while True:
            await asyncio.sleep(LOOK_EVERY)
            socket = self._line.socket
            # With a full queue it is we who read nothing.
            heard = socket.received != seen or self._packets.full()
            seen = socket.received
            silent = silence.is_too_long(
                self._now(), heard=heard or not self._line.is_heard(socket)
            )
            if silent:
                self._deaf = True
                socket.transport.abort()
                silence = Silence(SILENCE, self._now())

    async def _read(self) -> None:
        try:
            await self._read_until_done()
        except ClientError as error:
            self._failure = error
        self._release()
        await self._packets.put(None)

    def _release(self) -> None:
        """Nothing more will be read: nobody may wait for it."""
        self._done.set()
        for answered in self._answers.values():
            answered.set()

    async def _read_until_done(self) -> None:
        while self.totals is None:
            for event in await self._receive():
                if isinstance(event, Answered):
                    if event.asked in self._answers:
                        self._answers[event.asked].set()
                elif isinstance(event, Presence):
                    self._note(event)
                elif not isinstance(event, (Opened, Ended)):
                    await self._packets.put(event)
            if self._state.owed_bytes > ACKNOWLEDGE:
                self._owes.set()

    def _note(self, presence: Presence) -> None:
        before, self._presence = self._presence or Presence("back"), presence
        if presence != before:
            self.tell(PRESENCE[presence.publisher])

    async def _ask_time(self) -> None:
        with suppress(ClientError):  # whoever sends or reads next learns the reason
            for _ in range(CLOCK_FIRST):
                await self.synchronise()

    async def _keep_time(self) -> None:
        """Asks for the time now and then, by which the server also learns what has come."""
        with suppress(ClientError):
            while True:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._owes.wait(), CLOCK_EVERY)
                self._owes.clear()
                await self._send(self._state.ask(self._now()))

    async def _send_each(self, messages: Iterator[bytes]) -> None:
        """Sends messages, none of which is made before it can be sent."""
        while True:
            socket = await self._line.caught_up()
            message = next(messages, None)
            if message is None:
                return
            await self._send_over(socket, message)

    async def _send(self, message: bytes) -> None:
        await self._send_over(await self._line.caught_up(), message)

    async def _send_over(self, socket: AnySocket, message: bytes) -> None:
        """Sends a message; one that is lost with the connection is kept if it matters."""
        try:
            await socket.send(message)
        except ConnectionClosed as error:
            if self._may_come_back(error):
                self._line.lose(socket, ConnectionLost(self._explain(error)))
                return
            await self._reader_has_finished()
            raise self._reason() from error

    async def _receive(self) -> list[Event]:
        while True:
            socket = await self._line.connected()
            try:
                # Without a limit where nothing is waited for; a lossy way alone waits for anything.
                patience = self._state.patience(self._now())
                data = await asyncio.wait_for(socket.recv(decode=False), patience)
            except asyncio.TimeoutError:
                return self._state.settled(self._now())
            except ConnectionClosed as error:
                reason = ConnectionLost(self._explain(error))
                if not self._may_come_back(error):
                    raise reason from error
                self._line.lose(socket, reason)
                continue
            if self._line.is_heard(socket):
                return self._state.receive(data)

    def _may_come_back(self, error: ConnectionClosed) -> bool:
        """Whether the connection broke, and was not closed, of a session that outlives it."""
        broke = error.rcvd is None and error.sent is None
        return broke and self._reopen is not None and self._state.can_come_back

    async def _reader_has_finished(self) -> None:
        """Lets the reader finish: the server's last message may still wait, whose error explains
        the close."""
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=CLOSE_TIMEOUT)

    def _explain(self, error: ConnectionClosed) -> str:
        if self._deaf:
            return f"nothing came from the server for {SILENCE:g} s: the connection was lost"
        return explain_close(error)

    def _reason(self) -> ClientError:
        if self._failure is None and self.totals is not None and self.totals.reason == "shutdown":
            return ConnectionLost("the server is shutting down")
        return self._failure or ConnectionLost("the session is over")
