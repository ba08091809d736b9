"""A session with a server, for programs: tasks, queues and a socket around ClientSession."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import numpy as np
from websockets.exceptions import ConnectionClosed

from clients.errors import ClientError, ConnectError, ConnectionLost, FinishTimeout
from clients.library.client_session import Answered, ClientSession, Ended, Event, Opened
from clients.library.clock import ClockEstimate
from clients.library.packets import AudioPacket, Packet, WireCount
from clients.library.refusals import explain_close
from clients.library.silence import Silence
from clients.library.socket import CLOSE_TIMEOUT, AnySocket
from clients.library.wire import ClientWire
from facodec.config import SAMPLE_RATE
from facodec.identity import ModelIdentity, belonging
from facodec.link.entropy import FrameCoder
from streaming.wire import protocol
from streaming.wire.protocol import Done, Hello, Ready

FINISH_TIMEOUT = 10.0
SILENCE = 12.0
"""A server from which nothing has come for so many s, not even the answer to a ping, is lost: well
before the server gives up a client that it hears nothing from (20 s), so that a publisher comes
back in time to find its listeners."""
LOOK_EVERY = 0.5
CLOCK_FIRST, CLOCK_EVERY = 3, 2.0
"""Questions asked before the session is handed out, and s between later ones."""
CLOCK_PATIENCE = 2.0
MAX_PACKETS = 1024
"""Packets that wait for the reader of a session. Policy when full: nothing more is taken from the
socket, so TCP holds the server back, whose own bound then decides."""


class Session:
    """An open session; made by :class:`clients.library.connection.connect`. Iterate over it for
    what the server sends.

    One task may send while another iterates. Sending after the server has failed raises the
    server's own reason.
    """

    def __init__(
        self,
        socket: AnySocket,
        hello: Hello,
        wire: WireCount | None = None,
        clock: Callable[[], float] = time.monotonic,
        coder: FrameCoder | None = None,
    ) -> None:
        encoding = ClientWire(socket.subprotocol, coder, lossy=socket.lossy)
        self._state = ClientSession(hello, wire, clock, encoding)
        self._socket = socket
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
    def transport(self) -> asyncio.Transport | None:
        """The TCP connection beneath, for who counts its bytes; None over QUIC."""
        transport = self._socket.transport
        return transport if isinstance(transport, asyncio.Transport) else None

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the connection, headers of WebSocket and TLS included, or nearly."""
        wire = self.wire
        sent = wire.bytes_up - self._before[0], wire.messages_up - self._before[1]
        return sent[0] + sent[1] * self._socket.overhead

    @property
    def unacknowledged(self) -> int:
        """Bytes of these that the other end has not acknowledged; where the system does not tell,
        those that it has not taken."""
        return self._socket.unacknowledged

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

    # ------------------------------------------------------------------ sending

    async def send_audio(self, samples: np.ndarray, captured: float | None = None) -> None:
        """Send samples float32 (n,), any n. ``captured``: monotonic time of the last one, s."""
        for message in self._state.audio(samples, captured):
            await self._send(message)

    async def send_codes(self, codes: np.ndarray, captured: float | None = None) -> None:
        """Send codes int (K, n), K at least the session's layers: what is more is left out."""
        for message in self._state.codes(codes, captured):
            await self._send(message)

    @property
    def pauses(self) -> bool:
        """Whether frames may be left out where nobody speaks."""
        return self._state.pauses

    async def send_pause(self, frames: int, noise: bytes = b"") -> None:
        """Leave out frames, where :attr:`pauses` holds. ``noise``: how they sound
        (:class:`facodec.link.comfort.Description`), empty where that is as before."""
        for message in self._state.pause(frames, noise):
            await self._send(message)

    async def send_voice(
        self, timbre: np.ndarray | str, *, exact: bool = True, shift: float = 0.0
    ) -> None:
        """Send a timbre (256,), or the name of a voice that the server knows: an exact one replaces
        the voice, an estimate is a hint. ``shift``: semitones that an exact one is to speak higher
        than it does."""
        for message in self._state.voice(timbre, exact=exact, shift=shift):
            await self._send(message)

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

    async def finish(self, timeout: float = FINISH_TIMEOUT) -> Done:
        """Say that all is sent and wait for the server's totals; iterate for what is left.

        Raises FinishTimeout, ServerError or ConnectionLost."""
        if not self._done.is_set():
            for message in self._state.end():
                await self._send(message)
        try:
            await asyncio.wait_for(self._done.wait(), timeout)
        except asyncio.TimeoutError as error:
            full = self._packets.full()
            raise FinishTimeout(
                f"the server did not finish within {timeout:g} s"
                + (f"; {MAX_PACKETS} packets wait to be read: iterate while sending" * full)
            ) from error
        if self.totals is None:
            raise self._reason()
        return self.totals

    async def process(self, audio: np.ndarray, timeout: float = FINISH_TIMEOUT) -> np.ndarray:
        """Send all of audio float32 (n,) and return all samples (m,) that come back, however long
        it is: for sessions that send and receive sound. Ends the stream.

        ``timeout``: seconds that the server has for its last frames. Raises like :meth:`finish`.
        """
        sending = asyncio.create_task(self._send_all(audio, timeout))
        receiving = asyncio.create_task(self._receive_all())
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            received = await receiving
            await sending
        finally:
            sending.cancel()
            receiving.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
        return received

    async def _send_all(self, audio: np.ndarray, timeout: float) -> None:
        for start in range(0, len(audio), SAMPLE_RATE):
            await self.send_audio(audio[start : start + SAMPLE_RATE])
            await self.synchronise()
        await self.finish(timeout)

    async def _receive_all(self) -> np.ndarray:
        parts = [np.zeros(0, np.float32)]
        async for packet in self:
            if isinstance(packet, AudioPacket):
                parts.append(packet.samples)
        return np.concatenate(parts)

    # ------------------------------------------------------------------ receiving

    def __aiter__(self) -> AsyncIterator[Packet]:
        return self

    async def __anext__(self) -> Packet:
        packet = None
        if not (self._done.is_set() and self._packets.empty()):
            packet = await self._packets.get()
        if packet is not None:
            return packet
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def close(self) -> None:
        """Hang up; safe to call again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._release()
        with suppress(asyncio.QueueFull):  # full: then nobody waits for a packet
            self._packets.put_nowait(None)
        await self._socket.close()

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
            # With a full queue it is we who read nothing.
            heard = self._socket.received != seen or self._packets.full()
            seen = self._socket.received
            if silence.is_too_long(self._now(), heard=heard):
                self._deaf = True
                self._socket.transport.abort()
                return

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
                elif not isinstance(event, (Opened, Ended)):
                    await self._packets.put(event)

    async def _ask_time(self) -> None:
        with suppress(ClientError):  # whoever sends or reads next learns the reason
            for _ in range(CLOCK_FIRST):
                await self.synchronise()

    async def _keep_time(self) -> None:
        with suppress(ClientError):
            while True:
                await asyncio.sleep(CLOCK_EVERY)
                await self._send(self._state.ask(self._now()))

    async def _send(self, message: bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            await self._reader_has_finished()
            raise self._reason() from error

    async def _receive(self) -> list[Event]:
        try:
            # Without a limit where nothing is waited for; a lossy way alone waits for anything.
            patience = self._state.patience(self._now())
            data = await asyncio.wait_for(self._socket.recv(decode=False), patience)
        except ConnectionClosed as error:
            raise ConnectionLost(self._explain(error)) from error
        except asyncio.TimeoutError:
            return self._state.settled(self._now())
        return self._state.receive(data)

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
