"""Tells a server that has gone silent from a program that was stopped for a while, and a link that
is slow from a server that does nothing."""

from __future__ import annotations

LONGEST_LOOK = 2.0
"""Most seconds that one look adds. A program that stood still (Ctrl-Z, a closed laptop) finds much
time gone, but what came meanwhile still waits to be read."""
CHATTER, CHATTER_AT_ONCE = 50.0, 256.0
"""Bytes a second, and beside that at once, that pings and answers bring at most."""


class Silence:
    """Time without a sign of life, as far as somebody listened. Monotonic seconds."""

    def __init__(self, patience: float, now: float) -> None:
        self._patience = patience
        self._looked = now
        self._silence = 0.0

    def is_too_long(self, now: float, *, heard: bool) -> bool:
        """Whether the patience is over. ``heard``: something has come since the last look."""
        self._silence = 0.0 if heard else self._silence + min(now - self._looked, LONGEST_LOOK)
        self._looked = now
        return self._silence > self._patience


class Standstill:
    """Time for which hardly anything has come but signs of life. Monotonic seconds."""

    def __init__(self, patience: float, now: float, received: int) -> None:
        self._patience = patience
        self.restart(now, received)

    def restart(self, now: float, received: int) -> None:
        """Counts from here on. ``received``: bytes so far."""
        self._since, self._received = now, received

    def is_too_long(self, now: float, received: int) -> bool:
        """Whether the patience is over. ``received``: bytes so far."""
        quiet = now - self._since
        if received - self._received > CHATTER * quiet + CHATTER_AT_ONCE:
            self.restart(now, received)
            return False
        return quiet > self._patience
