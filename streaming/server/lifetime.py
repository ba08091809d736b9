"""A session's life on the server, over one connection or several, one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod

from streaming.engine.streams import Flow
from streaming.server.ending import Ending, error_event, say_goodbye
from streaming.server.gate import Visitor
from streaming.server.journal import SessionJournal
from streaming.server.link import Link
from streaming.server.outbox import Outbox
from streaming.server.peer_socket import PeerSocket
from streaming.server.places import place_of
from streaming.server.rooms import Room
from streaming.server.runtime import Plan, Runtime
from streaming.server.watching import SessionAccount
from streaming.wire.framing import framing_of
from streaming.wire.protocol import DoneReason, Hello, PresenceState, ProtocolError
from streaming.wire.session import ServerSession


class Lifetime(ABC):
    """Serves one session over its present connection, parks it where that breaks, and ends it.

    ``visitor``: where the client comes from and what it may do. All on the event loop.
    """

    def __init__(self, socket: PeerSocket, runtime: Runtime, visitor: Visitor) -> None:
        started = runtime.clock()
        self._runtime = runtime
        self._link: Link | None = Link(socket, visitor, runtime.settings, started)
        self._session = ServerSession(
            runtime.new_identity(),
            runtime.limits,
            runtime.settings.hello_timeout,
            started,
            framing_of(socket.subprotocol, lossy=socket.lossy),
        )
        self._session.may_last = socket.can_break
        self._journal = SessionJournal(self._session.identity, visitor.address, runtime.clock)
        self._outbox = Outbox(runtime.clock, self._send_now)
        self.account = SessionAccount(self._session, self._journal, self._outbox, runtime.metrics)
        self._stream: Flow | None = None
        self._plan: Plan | None = None
        self._room: Room | None = None
        self._done_reason: DoneReason = "end"
        self._ending: Ending | None = None
        self._expired = False
        self._heir: Lifetime | None = None
        self.owner = visitor.address, visitor.token_name
        """Address of its client, and name of the token it has shown."""

    @abstractmethod
    async def _read(self, link: Link) -> None:
        """Takes in what comes, until the connection ends."""

    @abstractmethod
    async def _write(self, link: Link) -> None:
        """Sends what is to go out, until the connection ends."""

    @abstractmethod
    def _send_now(self, data: bytes) -> bool:
        """Hands a message to an idle socket; False where it is not."""

    @abstractmethod
    def _check_more(self, now: float) -> None:
        """Looks at what else there is, twice a second. Raises ProtocolError."""

    @abstractmethod
    def _hurry(self) -> None:
        """Passes on what has been read."""

    @abstractmethod
    def _wake_reader(self) -> None:
        """Lets a reader go on that waits for space in a queue."""

    @abstractmethod
    def _leave_room(self, room: Room) -> None:
        """Gives back the room of a publisher, or the place of a listener."""

    @abstractmethod
    def shut_down(self) -> None:
        """Finishes what has arrived, then says done and closes: the server is going away."""

    @abstractmethod
    def on_presence(self, state: PresenceState) -> None:
        """The connection of the room's publisher was lost, or he is there again."""

    async def run(self) -> Lifetime | None:
        """Serves the client until its session has ended and the socket is closed, or the session
        goes on without this connection. Returns the session that goes on over it, where the
        client has come back to an earlier one."""
        link = self._link
        assert link is not None
        try:
            ending = await link.serve(self._read(link), self._write(link), self)
            if ending is not None:
                self._leave()
                patience = self._runtime.settings.ping_timeout
                await say_goodbye(ending, link.socket, self._outbox, link.writer, patience)
        finally:
            link.stop()
            if self._link is link:
                self._after(link)
        return self._heir

    def _after(self, link: Link) -> None:
        """The session has ended on this connection; the client may not know it."""
        ending = self._ending
        if ending is not None and ending.is_good and self._lasts and not link.ended_in_order:
            self._park()
        else:
            self._conclude("cancelled" if ending is None else ending.reason or "end")

    def check(self, now: float) -> None:
        """Ends a client that keeps the server waiting, or is gone; called twice a second."""
        link, patience = self._link, self._runtime.settings.idle_timeout
        if link is None:
            return
        if link.stuck(now, self._outbox.stuck()) > patience:
            if self._ending is not None:
                self.cut()
            self._drop_slow(ProtocolError("too-slow", f"took nothing for {patience:g} s"))
            return
        try:
            self._session.check(now)
            self._check_more(now)
        except ProtocolError as error:
            self._fail(error)
            return
        listens = self._session.is_open and self._session.hello.role == "subscribe"
        try:
            link.check(now, listens=listens, in_room=self._room is not None)
        except ProtocolError as error:
            self._drop_slow(error)

    @property
    def trusted(self) -> bool:
        """Whether it has shown a token."""
        return self._link is not None and self._link.visitor.token_name is not None

    def give_way(self) -> None:
        """Ends a connection that has said nothing yet, at once."""
        error = ProtocolError("overloaded", "too many connections wait for their hello")
        self._fail(error)
        if self._link is not None:
            self._link.socket.drop(error_event(error), error.close_code)

    def cut(self) -> None:
        """Drops the connection without a word."""
        self._end(Ending(1001, "cut"))
        if self._link is not None:
            self._link.socket.transport.abort()

    def _end(self, ending: Ending) -> None:
        if self._ending is not None:
            return
        self._ending = ending
        if self._link is not None:
            self._link.end(ending)
        elif self._expired or not ending.is_good:
            self._conclude(ending.reason or "end")
        else:
            self._leave()

    def _fail(self, error: ProtocolError) -> None:
        if self._ending is not None:
            return
        self._runtime.metrics.errors[error.code] += 1
        self._end(Ending.of(error))

    def _drop_slow(self, error: ProtocolError) -> None:
        """A client does not take what it is sent: to one that may come back its connection is
        lost, and it gets the newest then."""
        if self._lasts and self._ending is None and self._link is not None:
            self._link.socket.transport.abort()
        else:
            self._fail(error)

    def on_error(self, link: Link, error: ProtocolError) -> None:
        if link is self._link:
            self._fail(error)

    def on_hang_up(self, link: Link, *, in_order: bool) -> None:
        """The client is gone. What a publisher has sent still belongs to its listeners."""
        if link is not self._link or self._ending is not None:
            return
        if self._lasts and not in_order:
            self._park()
        elif self._room is not None and self._stream is not None:
            self._stream.end()
        else:
            self._end(Ending(1000, "hang-up"))

    def on_lost(self, link: Link) -> None:
        """The connection is closed. A reader that waits for space in a queue would not see it: it
        reads what has arrived to its end where the session lasts, or its listeners do."""
        if link is not self._link:
            return
        if self._lasts:
            self._wake_reader()
        elif self._room is None or self._stream is None:
            self._end(Ending(1000, "hang-up"))

    # ------------------------------------------------------------- a session without a connection

    @property
    def _lasts(self) -> bool:
        """Whether the client may come back to the session over another connection."""
        sent = self._session.sent
        return sent is not None and sent.is_whole and self._runtime.settings.park > 0

    @property
    def address(self) -> str:
        """Address of its client when it was last there."""
        return self.owner[0]

    @property
    def kept_bytes(self) -> int:
        """Bytes that it keeps for its client."""
        return 0 if self._session.sent is None else self._session.sent.bytes

    @property
    def carried(self) -> int:
        """Frames that it has taken and given so far."""
        return self._session.totals.frames_in + self._session.frames_out

    @property
    def is_away(self) -> bool:
        """Whether its client's connection was lost."""
        return self._link is None

    def _part(self) -> None:
        """The connection is gone, the session stays."""
        link, self._link = self._link, None
        assert link is not None
        self.account.parked = True
        self._hurry()
        link.stop()
        link.end(None)
        self._outbox.restart()
        link.socket.transport.abort()
        self._runtime.occupancy.leave(self)
        link.visitor.give_back()

    def _park(self) -> None:
        self._part()
        self._journal.note("session parked")
        self._runtime.parking.park(self)

    def come_back(self, socket: PeerSocket, visitor: Visitor, hello: Hello) -> None:
        """The client is there again over another connection, be it that the last one is not known
        to be lost. Raises ProtocolError where it cannot go on now."""
        messages = self._session.come_back(hello)
        if self._link is not None:
            self._part()
        try:
            self._take_place(visitor, hello)
        except ProtocolError:
            self._runtime.occupancy.leave(self)
            self._runtime.parking.park(self)
            raise
        self._runtime.parking.leave(self)
        self._runtime.metrics.returned += 1
        self.owner = visitor.address, visitor.token_name
        self.account.parked = False
        self._journal.note("session returned", address=visitor.address)
        now = self._runtime.clock()
        self._session.listen(now)
        self._link = Link(socket, visitor, self._runtime.settings, now)
        for data, frames in messages:
            self._outbox.put(data, frames)
        if self._room is not None and hello.role == "publish":
            self._room.go_on()
        elif self._room is not None:
            self.on_presence(self._room.presence)
        if self._ending is not None:
            self._link.end(self._ending)

    def _take_place(self, visitor: Visitor, hello: Hello) -> None:
        """Takes the places again that the session had. Raises ProtocolError where there are none;
        who has only to fetch what is left needs none."""
        if self._ending is not None:
            return
        if hello.role == "subscribe" and self._room is not None:
            self._runtime.rooms.need_seat(hello.room or "", self._room)
        self._occupy(visitor, hello)
        if self._plan is not None:
            self._runtime.need_power(self._plan, hello.model)

    def _occupy(self, visitor: Visitor, hello: Hello) -> None:
        """Takes the place that a session of this hello needs. Raises ProtocolError."""
        place = place_of(hello)
        visitor.admit(place)
        self._runtime.occupancy.admit(self, place, self._runtime.share_of(hello))

    def expire(self) -> None:
        """Nobody has come back. What a publisher has sent still belongs to its listeners."""
        self._expired = True
        if self._room is not None and self._stream is not None and self._ending is None:
            self._stream.end()
        else:
            self._conclude("hang-up")

    def give_up(self) -> None:
        """Its client begins anew instead of coming back."""
        self._conclude("replaced")

    def _conclude(self, why: str) -> None:
        """The session is over."""
        self._leave()
        self._runtime.parking.forget(self)
        self._runtime.occupancy.leave(self)
        self._journal.end(self._session.totals.frames_in, self._session.frames_out, why)

    def _leave(self) -> None:
        """Gives back what the session holds of the engine and of a room."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        room, self._room = self._room, None
        if room is not None:
            self._leave_room(room)
