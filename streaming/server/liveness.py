"""Whether the client at the other end of a connection is still there: pings and their answers."""

from __future__ import annotations

from streaming.server.peer_socket import PeerSocket
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import ProtocolError


class Standstill:
    """Time for which nothing has been taken of what waits for a client: a link that is slow takes
    something now and then, one that is dead does not. Monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._waiting = 0

    def look(self, now: float, waiting: int) -> float:
        """Seconds until now. ``waiting``: bytes that the client's system has not acknowledged."""
        if not waiting or waiting < self._waiting:
            self._since = now
        self._waiting = waiting
        return now - self._since


class Liveness:
    """Asks who has not been heard for ``every`` s, others more rarely, and notes how long no answer
    has come. Times are monotonic seconds."""

    HEARD_EVERY = 5.0
    """Seconds between pings to who is heard: where its way up is slow, they alone may tell it that
    the server is there."""

    HELD_EVERY = 1.0
    """Seconds between pings to a client that is not read. Its answers cannot be seen, but its
    system acknowledges them, or answers with a reset where it has hung up."""

    def __init__(self, every: float, now: float) -> None:
        self._every = every
        self._asked = self._heard = now
        self._since: float | None = None

    def look(self, now: float, *, answered: bool, reading: bool) -> bool:
        """Whether it is time to send a ping. ``answered``: something has come since the last
        look. ``reading``: the client has been read all the time since."""
        if answered:
            self._since, self._heard = None, now
        if now - self._asked < self._patience(now, reading):
            return False
        self._asked = now
        if self._since is None:
            self._since = now
        return True

    def _patience(self, now: float, reading: bool) -> float:
        """Seconds from one ping to the next."""
        if not reading:
            return self.HELD_EVERY
        unheard = now - self._heard >= self._every
        return self._every if unheard else max(self._every, self.HEARD_EVERY)

    def silent(self, now: float) -> float:
        """Seconds that the oldest ping without an answer has waited; 0 when there is none."""
        return 0.0 if self._since is None else now - self._since


class Pulse:
    """Pings one client, and cuts it off where nothing answers or somebody has hung up."""

    def __init__(self, socket: PeerSocket, settings: ServerSettings, now: float) -> None:
        self._socket = socket
        self._settings = settings
        self._liveness = Liveness(settings.ping_interval, now)
        self._heard = 0
        self._looked = now

    def check(self, now: float, *, listens: bool, in_room: bool) -> None:
        """Looks after a client, twice a second. ``listens``: it has only to take what it is sent.
        Raises ProtocolError("too-slow") for a listener without an answer."""
        socket, settings = self._socket, self._settings
        # A listener has little to say; that it takes what it is sent, only its pongs show.
        heard, self._heard = self._heard, socket.pongs if listens else socket.received
        answered, reading = self._heard != heard, socket.read_since_last_look()
        if not reading:
            if socket.has_hung_up(reset=in_room):
                socket.transport.abort()
                return
            answered = socket.was_acknowledged(now - self._looked)
        self._looked = now
        if self._liveness.look(now, answered=answered, reading=reading):
            socket.ask()
        patience = settings.outbox if listens else settings.ping_timeout
        if self._liveness.silent(now) <= patience:
            return
        if listens:
            raise ProtocolError("too-slow", f"answered no ping for {patience:g} s")
        # Half a connection: nothing that is written arrives. What it sent is its listeners'.
        socket.transport.abort()
