"""Whether the client at the other end of a connection is still there: pings and their answers."""

from __future__ import annotations


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
