"""Timing of a pause's frames, which are told once a second and heard all the time."""

from __future__ import annotations

from facodec.config import HOP, SAMPLE_RATE

HOP_SECONDS = HOP / SAMPLE_RATE
LATE = 0.01
"""Seconds that a packet may be later than the one before it without frames in its place."""
MOST_AHEAD = 88
"""Frames that are made before they are told: more than that is a lost connection."""


class PauseClock:
    """Counts the frames of pauses that are to be made by now: as many in one go as the largest
    packet had, when it would be a little late. What was made too early is taken off the next."""

    def __init__(self) -> None:
        self.ahead = 0
        """Frames made and not told yet."""
        self._largest = 1
        self._since: float | None = None
        self._made = 0

    def on_speech(self, frames: int) -> None:
        """A packet of so many frames came."""
        self._largest = max(self._largest, frames)
        self._since = None

    def on_pause(self, frames: int, now: float) -> int:
        """Takes a pause of so many frames and returns those that are still to be made."""
        missing = max(0, frames - self.ahead)
        self.ahead -= frames - missing
        self._since, self._made = now, 0
        return missing

    def due(self, now: float) -> int:
        """Frames to make now."""
        if self._since is None:
            return 0
        packets = int((now - self._since - LATE) / (self._largest * HOP_SECONDS))
        count = min(max(0, packets) * self._largest, MOST_AHEAD)
        new, self._made = max(0, count - self.ahead), count
        self.ahead += new
        return new

    def wait(self, now: float) -> float | None:
        """Seconds until something may be due; None while there is no pause, or it is not told any
        more."""
        if self._since is None or self._made >= MOST_AHEAD:
            return None
        packets = self._made // self._largest + 1
        return max(0.0, self._since + LATE + packets * self._largest * HOP_SECONDS - now)
