"""Tells a server that has gone silent from a program that was stopped for a while."""

from __future__ import annotations

LONGEST_LOOK = 2.0
"""Most seconds that one look adds. A program that stood still (Ctrl-Z, a closed laptop) finds much
time gone, but what came meanwhile still waits to be read."""


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
