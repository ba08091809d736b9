"""One connected client: its socket, session, stream in the engine and place in a room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine
from functools import partial

from websockets.exceptions import ConnectionClosed

from facodec.config import MIN_LAYERS
from streaming.engine.streams import Outcome, Stream
from streaming.server.downlink import way_down
from streaming.server.ending import Ending, error_event, say_goodbye
from streaming.server.gate import Visitor
from streaming.server.journal import SessionJournal
from streaming.server.liveness import Pulse
from streaming.server.outbox import Outbox
from streaming.server.pace import FanOut, Pace
from streaming.server.peer_socket import PeerSocket
from streaming.server.portions import Portions
from streaming.server.relaying import coder_for, may_pause
from streaming.server.rooms import Broadcast, Room, stamps_of
from streaming.server.runtime import FRAMES_PER_SECOND, Runtime
from streaming.server.watching import SessionAccount
from streaming.wire.agreed import agree
from streaming.wire.belonging import need_own_hello
from streaming.wire.framing import framing_of
from streaming.wire.media import Media, Talker
from streaming.wire.protocol import DoneReason, Format, Hello, ProtocolError, Stamps
from streaming.wire.session import Arrived, Ended, Event, Opened, Reply, ServerSession

log = logging.getLogger(__name__)

PAUSE = 0.1  # seconds after which a paused reader looks again at limits that move with time


class Peer:
    """Runs one connection from its hello to its close. All on the event loop.

    ``visitor``: where the client comes from and what it may do.
    """

    def __init__(self, socket: PeerSocket, runtime: Runtime, visitor: Visitor) -> None:
        settings = runtime.settings
        self._socket = socket
        self._runtime = runtime
        self._visitor = visitor
        started = runtime.clock()
        self._session = ServerSession(
            runtime.new_identity(),
            runtime.limits,
            settings.hello_timeout,
            started,
            framing_of(socket.subprotocol, lossy=socket.lossy),
        )
        self._journal = SessionJournal(self._session.identity, visitor.address, runtime.clock)
        self._pace = Pace(runtime.pool, settings.message_rate, runtime.clock)
        self._portions = Portions(FanOut(runtime.pool, runtime.clock), self._on_event)
        self._pulse = Pulse(socket, settings, started)
        self._outbox = Outbox(runtime.clock, self._send_now)
        self.account = SessionAccount(self._session, self._journal, self._outbox, runtime.metrics)
        self._backlog = settings.backlog * FRAMES_PER_SECOND
        self._outbox_limit = settings.outbox * FRAMES_PER_SECOND
        self._stream: Stream | None = None
        self._room: Room | None = None
        self._room_deadline: float | None = None
        self._done_reason: DoneReason = "end"
        self._pause_timer: asyncio.TimerHandle | None = None
        self._sift: Callable[[Media], Media | None] = lambda item: item
        self._progress = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self.wants: Format = "pcm"

    async def run(self) -> None:
        """Serves the client until its session has ended and the socket is closed."""
        self._reader = asyncio.ensure_future(self._guard(self._read()))
        writer = asyncio.ensure_future(self._guard(self._write()))
        self._socket.connection_lost_waiter.add_done_callback(self._on_lost)
        try:
            ending = await self._ending
            self._reader.cancel()
            self._leave()
            await say_goodbye(ending, self._socket, self._outbox, writer)
        finally:
            self._leave()
            self._reader.cancel()
            writer.cancel()
            why = (self._ending.result().reason or "end") if self._ending.done() else "cancelled"
            self._journal.end(self._session.totals.frames_in, self._session.frames_out, why)

    def check(self, now: float) -> None:
        """Ends a client that keeps the server waiting, or is gone; called twice a second."""
        patience = self._runtime.settings.idle_timeout
        if self._outbox.stuck() > patience:
            if self._ending.done():
                self.cut()
            self._fail(ProtocolError("too-slow", f"took nothing for {patience:g} s"))
            return
        try:
            self._session.check(now)
            self._check_room(now)
            listens = self._session.is_open and self._session.hello.role == "subscribe"
            self._pulse.check(now, listens=listens, in_room=self._room is not None)
        except ProtocolError as error:
            self._fail(error)

    @property
    def trusted(self) -> bool:
        """Whether it has shown a token."""
        return self._visitor.token_name is not None

    def give_way(self) -> None:
        """Ends a connection that has said nothing yet, at once."""
        error = ProtocolError("overloaded", "too many connections wait for their hello")
        self._fail(error)
        self._socket.drop(error_event(error), error.close_code)

    def shut_down(self) -> None:
        """Finishes what has arrived, then says done and closes: the server is going away."""
        self._done_reason = "shutdown"
        if not self._session.is_open:
            self._end(Ending(1001, "server shutting down"))
        elif self._stream is not None:
            if self._reader is not None:
                self._reader.cancel()
            self._portions.hurry()
            self._stream.end()

    def cut(self) -> None:
        """Drops the connection without a word."""
        self._end(Ending(1001, "cut"))
        self._socket.transport.abort()

    def _end(self, ending: Ending) -> None:
        if not self._ending.done():
            self._ending.set_result(ending)

    def _fail(self, error: ProtocolError) -> None:
        if self._ending.done():
            return
        self._runtime.metrics.errors[error.code] += 1
        self._end(Ending.of(error))

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        """Turns whatever ends the reader or the writer into the end of the session."""
        try:
            await work
        except ProtocolError as error:
            self._fail(error)
        except ConnectionClosed:
            self._on_hang_up()
        except Exception:
            log.exception("a connection failed")
            self._fail(ProtocolError("internal", "the server failed in this session"))

    def _on_hang_up(self) -> None:
        """The client is gone. What a publisher has sent still belongs to its listeners."""
        if self._room is not None and self._stream is not None and not self._ending.done():
            self._stream.end()
        else:
            self._end(Ending(1000, "hang-up"))

    def _on_lost(self, _: object) -> None:
        """The connection is closed. A reader that waits for space in a queue would not see it; only
        what a publisher has sent is still read to its end."""
        if self._room is None or self._stream is None:
            self._end(Ending(1000, "hang-up"))

    def _leave(self) -> None:
        """Gives back what the session holds of the engine and of a room."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        room, self._room = self._room, None
        if room is None:
            return
        hello = self._session.hello
        name = hello.room or ""
        if hello.role == "publish":
            shutdown = self._done_reason == "shutdown"
            self._runtime.rooms.close(name, "shutdown" if shutdown else "publisher-left")
        else:
            self._runtime.rooms.leave(name, room, self)

    def _send_now(self, data: bytes) -> bool:
        if self._socket.waiting:
            return False
        self._socket.send_now(data)
        return True

    async def _write(self) -> None:
        await self._outbox.send_all(self._socket.send, self._progress.set)

    async def _read(self) -> None:
        clock = self._runtime.clock
        while True:
            await self._wait_for_space()
            self._session.listen(clock())
            try:
                data = await asyncio.wait_for(self._socket.recv(), self._session.patience(clock()))
                event = self._session.receive(data, clock())
            except asyncio.TimeoutError:  # what is missing does not come any more
                data, event = b"", None
            for arrived in (*self._session.settled(clock()), event):
                await self._take(arrived)
            await self._pace.spend(len(data))

    async def _take(self, event: Event | None) -> None:
        if isinstance(event, Arrived) and self._room is not None and self._room.listeners:
            await self._portions.publish(event, self._room.listeners)
        else:
            self._on_event(event)

    async def _wait_for_space(self) -> None:
        """Stops the reading of the socket while this session has enough queued, so that TCP
        slows the client down. A live client never gets here while the server keeps up."""
        if not self._is_full():
            return
        self.account.pause()
        while self._is_full():
            self._progress.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._progress.wait(), PAUSE)

    def _is_full(self) -> bool:
        if self._outbox.frames >= self._outbox_limit:
            return True
        if self._stream is None or self._session.has_ended:
            return False
        if self._stream.backlog >= self._backlog:
            return True
        return self._room is not None and self._room.holds_back()

    def _on_event(self, event: Event | None) -> None:
        if isinstance(event, Reply):
            self._outbox.put(event.data)
        elif isinstance(event, Opened):
            self._on_hello(event.hello)
        elif isinstance(event, Arrived) and self._stream is not None:
            if event.before is not None:
                self._stream.submit(event.before)
            self._stream.submit(event.item, event.t)
            self._watch_pause()
        elif isinstance(event, Ended):
            self._on_client_end()

    def _watch_pause(self) -> None:
        """While a client leaves out frames, puts others in their place as time passes."""
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        if self._stream is None:
            return
        made, wait = self._session.pause_due(self._runtime.clock())
        if made is not None:
            self._stream.submit(made)
        if wait is not None:
            loop = asyncio.get_running_loop()
            self._pause_timer = loop.call_later(wait, self._watch_pause)

    def _on_hello(self, hello: Hello) -> None:
        self._visitor.authorize(hello)
        listens = hello.role == "subscribe"
        if not listens:
            need_own_hello(hello, self._runtime.codec(hello.model).identity)
        if hello.role == "publish" and hello.room is not None and hello.resume is not None:
            # First: the place of the connection that was lost is this one's.
            self._room = self._runtime.rooms.replace(hello.room, self, hello.resume)
        self._visitor.admit(hello)
        share = self._runtime.share_of(hello)
        self._runtime.occupancy.admit(self, listens=listens, share=share)
        if listens:
            self._join(hello)
        else:
            self._start(hello)
        self._journal.start(hello, self._visitor.token_name)
        self._runtime.metrics.sessions[hello.role] += 1

    def _start(self, hello: Hello) -> None:
        codec, make = self._runtime.plan(hello)
        converts_codes = hello.converts and hello.formats()[1] != "pcm"
        # Conversion drops the detail layers: they speak of the talker who was.
        layers = MIN_LAYERS if converts_codes else hello.layers
        resume = None
        coder, pauses = coder_for(hello, codec), may_pause(hello, codec)
        if hello.role == "publish" and hello.room is not None:
            agreed = agree(hello, coder, pauses=pauses)
            resume = self._open_room(
                hello,
                Broadcast(codec.identity, codec.latency, layers, agreed.coder, agreed.pauses),
            )
        self._session.timbre_of = partial(self._runtime.timbre_of, codec, hello)
        ready = self._session.open(
            codec.identity, codec.latency, layers, resume=resume, coder=coder, pauses=pauses
        )
        self._outbox.put(ready)
        self._stream = self._runtime.open_stream(make, self._on_outcome)

    def _open_room(self, hello: Hello, broadcast: Broadcast) -> str:
        """The room of a publisher, its own again or a new one. Returns what opens it again."""
        name, rooms = hello.room or "", self._runtime.rooms
        if self._room is not None and hello.resume is not None:
            if self._room.continues(broadcast):
                # The same as before: this answer may be lost like the one before it.
                return hello.resume
            rooms.close(name, "publisher-left")
            self._room = None
        resume = secrets.token_urlsafe(16)
        self._room = rooms.publish(name, broadcast, self, resume)
        return resume

    def _on_outcome(self, outcome: Outcome) -> None:
        """A turn of this session's stream is done."""
        if outcome.error is not None:
            self._fail(outcome.error)
            return
        self.account.add(outcome)
        if self._room is not None:
            self._room.publish(outcome)
        else:
            stamps = stamps_of(outcome)
            for item in outcome.media:
                self._put_media(item, stamps)
        self._progress.set()
        if outcome.ended:
            self._finish(self._done_reason, outcome.talker)

    def _on_client_end(self) -> None:
        if self._stream is not None:
            self._stream.end()
        else:
            self._finish("end")

    def _finish(self, reason: DoneReason, talker: Talker | None = None) -> None:
        for data, frames in self._session.finish(reason, talker):
            self._outbox.put(data, frames)
        self._runtime.metrics.frames_in += self._session.totals.frames_in
        self._end(Ending(1001, "server shutting down") if reason == "shutdown" else Ending(1000))

    def _put_media(self, item: Media, stamps: Stamps | None) -> None:
        for data, frames in self._session.send(item, stamps):
            self._outbox.put(data, frames)
            self._runtime.metrics.frames_out += frames

    def _join(self, hello: Hello) -> None:
        self.wants = hello.formats()[1] or "pcm"
        if hello.live:
            self._sift = way_down(self._outbox, self._socket, self.account, self._runtime.clock)
        self._room_deadline = self._runtime.clock() + self._runtime.settings.room_wait
        self._room = self._runtime.rooms.join(hello.room or "", self, self._visitor.waits_as)

    def on_replaced(self) -> None:
        """The publisher has come back over another connection."""
        self._room = None
        self._leave()
        self._runtime.occupancy.leave(self)
        self._visitor.end_session()
        (*_, (done, _)) = self._session.finish("replaced")
        self._end(Ending(1000, "replaced", done))

    def _check_room(self, now: float) -> None:
        deadline = None if self._session.is_open else self._room_deadline
        if deadline is not None and now > deadline:
            wait = self._runtime.settings.room_wait
            raise ProtocolError("unknown-room", f"no publisher came within {wait:g} s")

    @property
    def lags(self) -> bool:
        return self._outbox.frames > self._outbox_limit / 2

    def on_ready(self, broadcast: Broadcast, first_frame: int) -> None:
        try:
            need_own_hello(self._session.hello, broadcast.model)
        except ProtocolError as error:
            self._fail(error)
            return
        ready = self._session.open(
            broadcast.model, broadcast.latency, broadcast.layers, first_frame,
            coder=broadcast.coder, pauses=broadcast.pauses,
        )  # fmt: skip
        self._outbox.put(ready)

    def on_media(self, item: Media, stamps: Stamps | None) -> None:
        if self._ending.done() or (kept := self._sift(item)) is None:
            return
        self._put_media(kept, stamps)
        if self._outbox.frames > self._outbox_limit:
            seconds = self._runtime.settings.outbox
            self._fail(ProtocolError("too-slow", f"more than {seconds:g} s behind the room"))

    def on_end(self, reason: DoneReason) -> None:
        self._finish(reason)

    def on_failure(self, error: ProtocolError) -> None:
        self._fail(error)
