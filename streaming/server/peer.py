"""One client's session: its connection, stream in the engine and place in a room."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from functools import partial

from facodec.config import MIN_LAYERS
from streaming.engine.streams import Outcome
from streaming.server.broadcast import Broadcast
from streaming.server.downlink import Downlink, way_down
from streaming.server.ending import Ending
from streaming.server.gate import Visitor
from streaming.server.lifetime import Lifetime
from streaming.server.link import Link
from streaming.server.pace import FanOut, Pace
from streaming.server.peer_socket import PeerSocket
from streaming.server.places import place_of
from streaming.server.portions import Portions
from streaming.server.relaying import coder_for, may_pause
from streaming.server.rooms import Room, stamps_of
from streaming.server.runtime import FRAMES_PER_SECOND, Runtime
from streaming.wire.agreed import agree
from streaming.wire.belonging import need_own_hello
from streaming.wire.media import Media, Talker
from streaming.wire.protocol import (
    DoneReason,
    Format,
    Hello,
    PresenceState,
    ProtocolError,
    Stamps,
)
from streaming.wire.session import Arrived, Ended, Event, Opened, Reply

PAUSE = 0.1  # seconds after which a paused reader looks again at limits that move with time


class Peer(Lifetime):
    """One client's session: takes its messages apart, and has a stream in the engine and perhaps a
    place in a room.

    ``visitor``: where the client comes from and what it may do.
    """

    def __init__(self, socket: PeerSocket, runtime: Runtime, visitor: Visitor) -> None:
        super().__init__(socket, runtime, visitor)
        settings = runtime.settings
        self._pace = Pace(runtime.pool, settings.message_rate, runtime.clock)
        self._portions = Portions(FanOut(runtime.pool, runtime.clock), self._on_event)
        self._backlog = settings.backlog * FRAMES_PER_SECOND
        self._outbox_limit = settings.outbox * FRAMES_PER_SECOND
        self._room_deadline: float | None = None
        self._pause_timer: asyncio.TimerHandle | None = None
        self._downlink: Downlink | None = None
        self._progress = asyncio.Event()
        self.wants: Format = "pcm"

    def shut_down(self) -> None:
        """Finishes what has arrived, then says done and closes: the server is going away."""
        self._done_reason = "shutdown"
        if self._link is None:
            self._conclude("shutdown")
        elif not self._session.is_open:
            self._end(Ending(1001, "server shutting down"))
        elif self._stream is not None:
            self._link.stop_reading()
            self._portions.hurry()
            self._stream.end()

    def _send_now(self, data: bytes) -> bool:
        if self._link is None or self._link.socket.waiting:
            return False
        self._link.socket.send_now(data)
        return True

    async def _write(self, link: Link) -> None:
        await self._outbox.send_all(link.socket.send, self._progress.set)

    async def _read(self, link: Link) -> None:
        clock = self._runtime.clock
        while True:
            await self._wait_for_space(link)
            self._session.listen(clock())
            try:
                data = await asyncio.wait_for(link.socket.recv(), self._session.patience(clock()))
                if self._link is not link:
                    return
                event = self._session.receive(data, clock())
            except asyncio.TimeoutError:  # what is missing does not come any more
                data, event = b"", None
            for arrived in (*self._session.settled(clock()), event):
                await self._take(arrived)
            await self._pace.spend(len(data))
            if self._link is not link:
                return

    async def _take(self, event: Event | None) -> None:
        listeners = 0 if self._room is None else self._room.listeners
        if isinstance(event, Arrived) and listeners:
            await self._portions.publish(event, listeners)
        else:
            self._on_event(event)

    def _hurry(self) -> None:
        self._portions.hurry()

    def _wake_reader(self) -> None:
        self._progress.set()

    async def _wait_for_space(self, link: Link) -> None:
        """Stops the reading of the socket while this session has enough queued, so that TCP
        slows the client down. A live client never gets here while the server keeps up."""
        if not self._is_full():
            return
        self.account.pause()
        while self._is_full() and not (link.is_lost and self._lasts):
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
            self._put(event.data)
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
        assert self._link is not None
        visitor = self._link.visitor
        visitor.authorize(hello)
        if hello.received is not None:
            self._hand_over(self._link, hello)
            return
        listens = hello.role == "subscribe"
        if not listens:
            need_own_hello(hello, self._runtime.codec(hello.model).identity)
        if hello.role == "publish" and hello.room is not None and hello.resume is not None:
            # First: the place of the connection that was lost is this one's.
            self._room = self._runtime.rooms.replace(hello.room, self, hello.resume)
        self._occupy(visitor, hello)
        self.owner = visitor.address, visitor.token_name
        if listens:
            self._join(hello, visitor.waits_as)
        else:
            self._start(hello)
        self._journal.start(hello, visitor.token_name)
        self._runtime.metrics.sessions[hello.role] += 1

    def _hand_over(self, link: Link, hello: Hello) -> None:
        """Hands the connection over to the session that the client comes back to."""
        session = self._runtime.parking.find(hello.resume or "")
        if not isinstance(session, Lifetime):
            raise ProtocolError("unknown-session", "no session to come back to, or no more")
        session.come_back(link.socket, link.visitor, hello)
        self._heir, self._link = session, None
        self._runtime.occupancy.leave(self)
        link.end(None)

    def _start(self, hello: Hello) -> None:
        codec, plan = self._runtime.plan(hello)
        converts_codes = hello.converts and hello.formats()[1] != "pcm"
        # Conversion drops the detail layers: they speak of the talker who was.
        layers = MIN_LAYERS if converts_codes else hello.layers
        resume = (
            self._runtime.parking.register(self)
            if self._session.may_last and hello.replay
            else None
        )
        coder, pauses = coder_for(hello, codec), may_pause(hello, codec)
        if hello.role == "publish" and hello.room is not None:
            agreed = agree(hello, coder, pauses=pauses)
            resume = self._open_room(
                hello,
                Broadcast(codec.identity, codec.latency, layers, agreed.coder, agreed.pauses),
                resume or secrets.token_urlsafe(16),
            )
        self._session.timbre_of = partial(self._runtime.timbre_of, codec, hello)
        ready = self._session.open(
            codec.identity, codec.latency, layers, resume=resume, coder=coder, pauses=pauses
        )
        self._outbox.put(ready)
        self._plan = plan
        # Who is away takes nothing of the machine.
        present = replace(plan, load=lambda: 0.0 if self.is_away else plan.load())
        self._stream = self._runtime.open_stream(present, self._on_outcome)

    def _parking_token(self, hello: Hello) -> str | None:
        """The secret to come back with; None where the session ends with its connection."""
        lasts = hello.replay and self._session.may_last
        return self._runtime.parking.register(self) if lasts else None

    def _open_room(self, hello: Hello, broadcast: Broadcast, resume: str) -> str:
        """The room of a publisher, its own again or a new one. Returns what opens it again."""
        name, rooms = hello.room or "", self._runtime.rooms
        if self._room is not None and hello.resume is not None:
            if self._room.continues(broadcast):
                # The same as before: this answer may be lost like the one before it.
                if hello.replay:
                    self._runtime.parking.register(self, hello.resume)
                return hello.resume
            rooms.close(name, "publisher-left")
            self._room = None
        self._room = rooms.publish(name, broadcast, self, resume)
        return resume

    def _on_outcome(self, outcome: Outcome) -> None:
        """A turn of this session's stream is done."""
        if outcome.error is not None:
            self._fail(outcome.error)
            return
        if self._plan is None or self._plan.given is None:
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
            self._put(data, frames)
        self._runtime.metrics.frames_in += self._session.totals.frames_in
        self._end(Ending(1001, "server shutting down") if reason == "shutdown" else Ending(1000))

    def _put(self, data: bytes, frames: int = 0) -> None:
        """Sends a message, unless the client is away: it is kept for his return where it counts."""
        if not self.is_away:
            self._outbox.put(data, frames)

    def _put_media(self, item: Media, stamps: Stamps | None) -> None:
        for data, frames in self._session.send(item, stamps):
            self._put(data, frames)
            self._runtime.metrics.frames_out += frames

    def _join(self, hello: Hello, address: str | None) -> None:
        self.wants = hello.formats()[1] or "pcm"
        self._watch_link()
        self._room_deadline = self._runtime.clock() + self._runtime.settings.room_wait
        self._room = self._runtime.rooms.join(hello.room or "", self, address)

    def come_back(self, socket: PeerSocket, visitor: Visitor, hello: Hello) -> None:
        super().come_back(socket, visitor, hello)
        self._watch_link()

    def _watch_link(self) -> None:
        """Keeps what its connection does not take in time from who listens live."""
        if self._session.hello.live and self._link is not None:
            socket, clock, hello = self._link.socket, self._runtime.clock, self._session.hello
            self._downlink = way_down(self._outbox, socket, self.account, clock, hello)

    def _leave_room(self, room: Room) -> None:
        hello = self._session.hello
        name = hello.room or ""
        if hello.role == "publish":
            shutdown = self._done_reason == "shutdown"
            self._runtime.rooms.close(name, "shutdown" if shutdown else "publisher-left")
        else:
            self._runtime.rooms.leave(name, room, self)

    def on_replaced(self) -> None:
        """The publisher has come back over another connection."""
        self._room = None
        self._leave()
        self._runtime.occupancy.leave(self)
        if self._link is not None:
            self._link.visitor.give_back()
        (*_, (done, _)) = self._session.finish("replaced")
        self._end(Ending(1000, "replaced", done))

    def compute_sound(self) -> None:
        """Takes the place of a session too where only codes are passed on: the room is heard as
        sound. Raises ProtocolError. Who is away takes it when he comes back."""
        if self._link is None or place_of(self._session.hello) != "publisher":
            return
        self._runtime.occupancy.admit(self, "computing")
        try:
            self._link.visitor.admit("computing")
        except ProtocolError as error:
            self._runtime.occupancy.stop_computing(self)
            # It is told to a listener, whose address it is not.
            sentence = "the publisher's address has all the sessions that one may have"
            raise ProtocolError("overloaded", sentence) from error

    def stop_sound(self) -> None:
        """Gives the place that :meth:`compute_sound` took back."""
        if place_of(self._session.hello) == "publisher":
            self._runtime.occupancy.stop_computing(self)
            if self._link is not None:
                self._link.visitor.give_back("computing")

    def on_presence(self, state: PresenceState) -> None:
        data = self._session.tell_presence(state)
        if data is not None:
            self._put(data)

    def _check_more(self, now: float) -> None:
        self._pace.share_with(self._runtime.occupancy.crowd(self))
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
        hello = self._session.hello
        ready = self._session.open(
            broadcast.model, broadcast.latency, broadcast.layers, first_frame,
            self._parking_token(hello),
            coder=broadcast.coder, pauses=broadcast.pauses,
        )  # fmt: skip
        self._outbox.put(ready)

    def on_media(self, item: Media, stamps: Stamps | None) -> None:
        if self._ending is not None:
            return
        downlink = None if self.is_away else self._downlink
        for kept in [item] if downlink is None else downlink.take(item):
            self._put_media(kept, stamps)
        if self._outbox.frames > self._outbox_limit:
            seconds = self._runtime.settings.outbox
            self._drop_slow(ProtocolError("too-slow", f"more than {seconds:g} s behind the room"))

    def on_end(self, reason: DoneReason) -> None:
        for kept in [] if self._downlink is None else self._downlink.flush():
            self._put_media(kept, None)
        self._finish(reason)

    def on_failure(self, error: ProtocolError) -> None:
        self._fail(error)
