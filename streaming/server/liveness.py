"""Whether the client at the other end of a connection is still there: pings and their answers."""

from __future__ import annotations

from streaming.server.peer_socket import PeerSocket
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import ProtocolError


class Liveness:
    """Asks every ``every`` s and notes how long no answer has come. Times are monotonic seconds.

    A client that the server does not read cannot answer: such time does not count.
    """

    HELD_EVERY = 1.0
    """Seconds between pings to a client that is not read. Its answers cannot be seen, but the
    system of one that has hung up answers with a reset, which can."""

    def __init__(self, every: float, now: float) -> None:
        self._every = every
        self._asked = now
        self._since: float | None = None

    def look(self, now: float, *, answered: bool, reading: bool) -> bool:
        """Whether it is time to send a ping. ``answered``: something has come since the last
        look. ``reading``: the client has been read all the time since."""
        if answered:
            self._since = None
        elif not reading and self._since is not None:
            self._since = now
        if now - self._asked < (self._every if reading else self.HELD_EVERY):
            return False
        self._asked = now
        if self._since is None:
            self._since = now
        return True

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

    def check(self, now: float, *, listens: bool, in_room: bool) -> None:
        """Looks after a client, twice a second. ``listens``: it has only to take what it is sent.
        Raises ProtocolError("too-slow") for a listener without an answer."""
        socket, settings = self._socket, self._settings
        # A listener has little to say; that it takes what it is sent, only its pongs show.
        heard, self._heard = self._heard, socket.pongs if listens else socket.received
        reading = socket.read_since_last_look()
        if not reading and socket.has_hung_up(reset=in_room):
            socket.transport.abort()
            return
        if self._liveness.look(now, answered=self._heard != heard, reading=reading):
            socket.ask()
        patience = settings.outbox if listens else settings.ping_timeout
        if self._liveness.silent(now) <= patience:
            return
        if listens:
            raise ProtocolError("too-slow", f"answered no ping for {patience:g} s")
        # Half a connection: nothing that is written arrives. What it sent is its listeners'.
        socket.transport.abort()
