"""Bookkeeping of a playout buffer: how low it gets, and what of it was made up."""

from __future__ import annotations

from collections import deque

MOST_MADE_UP = 128
"""Packets made up whose lengths are remembered: more than a pause has before it is told."""


class LowWater:
    """Lowest level seen over the last ``window`` to 1.5 ``window`` seconds, in constant memory."""

    def __init__(self, window: float) -> None:
        self._half = window / 2
        self._window = window
        self.restart(float("inf"))

    def restart(self, now: float) -> None:
        """Forgets what was seen until now."""
        self._since = now
        self._turn = now
        self._lows: list[int | None] = [None, None, None]

    def note(self, level: int, now: float) -> None:
        """Takes note of how many samples waited."""
        self._since = min(self._since, now)
        if now - self._turn >= self._half or self._turn == float("inf"):
            self._lows = [None, *self._lows[:2]]
            self._turn = now
        newest = self._lows[0]
        self._lows[0] = level if newest is None else min(newest, level)

    def minimum(self, now: float) -> int | None:
        """None until a whole window was watched."""
        known = [low for low in self._lows if low is not None]
        return min(known) if known and now - self._since >= self._window else None

    def shift(self, change: int) -> None:
        """The delay was changed on purpose by this many samples."""
        self._lows = [None if low is None else low + change for low in self._lows]


class MadeUp:
    """Samples that were made up lately, and what was stored of them."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, int]] = deque(maxlen=MOST_MADE_UP)

    def add(self, made: int, stored: int) -> None:
        """Counts samples that were made, and those of them that were stored."""
        self._pieces.append((made, stored))

    def take(self, made: int) -> int:
        """Forgets all; returns how many were stored of the last ``made``."""
        count = 0
        while made > 0 and self._pieces:
            length, stored = self._pieces.pop()
            made -= length
            count += stored
        self._pieces.clear()
        return count
