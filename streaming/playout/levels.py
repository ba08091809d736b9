"""Bookkeeping of a playout buffer: how low it gets, and what of it was made up."""

from __future__ import annotations

from collections import deque

STEADY = 16
"""Packets over which the mean deviation is taken."""
MOST_LOWS = 256
"""Levels that are remembered: more than packets in 1.5 s."""
MOST_MADE_UP = 128
"""Packets made up whose lengths are remembered: more than a pause has before it is told."""


class LowWater:
    """Lowest level seen over the last ``window`` seconds, in bounded memory."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._shift = 0
        self._lows: deque[tuple[float, int]] = deque(maxlen=MOST_LOWS)
        """Times and levels, less all changes since: each level is higher than those before it."""
        self._noted = float("-inf")

    def restart(self, now: float, level: int) -> None:
        """Forgets what was seen until now, when it is at this level."""
        self._lows.clear()
        self._noted = float("-inf")
        self.note(level, now)

    def note(self, level: int, now: float) -> None:
        """Takes note of how many samples waited."""
        low = level - self._shift
        if now - self._noted > self._window and self._lows:
            # In a pause nothing shows whether less would be enough.
            low = min(low, self._lows[0][1])
        while self._lows and self._lows[-1][1] >= low:
            self._lows.pop()
        self._lows.append((now, low))
        self._noted = now

    def is_old(self, now: float) -> bool:
        """Whether nothing was seen for the whole window."""
        return now - self._noted > self._window

    def minimum(self, now: float) -> int | None:
        """None where nothing is known."""
        while len(self._lows) > 1 and self._lows[0][0] <= now - self._window:
            self._lows.popleft()
        return self._lows[0][1] + self._shift if self._lows else None

    def shift(self, change: int) -> None:
        """The delay was changed on purpose by this many samples."""
        self._shift += change


class Jitter:
    """Mean deviation of packets from the pace of speech, s. What is later than by ``most`` was held
    up by a stall and counts nothing."""

    def __init__(self, most: float) -> None:
        self.seconds = 0.0
        self._most = most
        self._came: float | None = None

    def restart(self) -> None:
        """The next packet follows a pause."""
        self._came = None

    def note(self, length: float, now: float) -> None:
        """A packet of so many s has come."""
        late = 0.0 if self._came is None else abs(now - self._came - length)
        if self._came is not None and late <= self._most:
            self.seconds += (late - self.seconds) / STEADY
        self._came = now


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
            count += min(stored, made)
            made -= length
        self._pieces.clear()
        return count
