"""Timing of a pause's frames, which are told once a second and heard all the time."""

from __future__ import annotations

from collections import deque

from facodec.config import HOP, SAMPLE_RATE

HOP_SECONDS = HOP / SAMPLE_RATE
LATE = 0.01
"""Seconds that a packet may be later than the one before it without frames in its place."""
STEP = 2
"""Frames made in one go where they cannot be taken back: when the packet comes after all, those
that were not needed are so much delay at most."""
LATELY = 8
"""Packets whose lengths tell what is to be expected: a long one that followed a stall is soon
forgotten."""
MOST_AHEAD = 88
"""Frames that are made before they are told: more than that is a lost connection."""
PASSED = 0.5
"""Seconds by which a pause is told late from which it is taken for shorter than it was: who sends
has dropped what the link did not take."""


class PauseClock:
    """Counts the frames of pauses that are to be made by now. Those of a pause that were made too
    early are taken off the next; those of a packet of speech that comes after all are told by
    :meth:`on_speech`.

    ``late``: seconds that a packet may be late without frames in its place. ``step``: frames made
    in one go, None for as many as the largest packet had lately.
    """

    def __init__(self, late: float = LATE, step: int | None = STEP) -> None:
        self.ahead = 0
        """Frames made and not told yet."""
        self._late, self._step = late, step
        self._lengths = deque([1], maxlen=LATELY)
        self._since: float | None = None
        self._made = 0

    def on_speech(self, frames: int) -> int:
        """A packet of so many frames came; returns how many were made in its place. Time has
        passed while they were: a packet's frames of them at most are taken off the next pause,
        none after :meth:`take_back`."""
        made = self.ahead
        self._lengths.append(frames)
        self.ahead = min(made, self._largest)
        self._since = None
        return made

    def take_back(self) -> None:
        """The frames made too early are not heard any more."""
        self.ahead = 0

    def on_pause(self, frames: int, now: float) -> int:
        """Takes a pause of so many frames and returns those that are still to be made."""
        missing = max(0, frames - self.ahead)
        self.ahead -= frames - missing
        # What is told late is no reason to make the rest late: the time goes on from where it was.
        due = now if self._since is None else self._since + frames * HOP_SECONDS
        if now - due > PASSED:
            due, self.ahead = now, min(self.ahead, self._largest)
        self._since, self._made = min(now, due), 0
        return missing

    def due(self, now: float) -> int:
        """Frames to make now."""
        if self._since is None:
            return 0
        step, over = self._pace(), now - self._first()
        count = 0 if over < 0 else step * (1 + int(over / (step * HOP_SECONDS)))
        count = min(count, MOST_AHEAD)
        new, self._made = max(0, count - self.ahead), count
        self.ahead += new
        return new

    def wait(self, now: float) -> float | None:
        """Seconds until something may be due; None while there is no pause, or it is not told any
        more."""
        if self._since is None or self._made >= MOST_AHEAD:
            return None
        return max(0.0, self._first() + self._made * HOP_SECONDS - now)

    @property
    def _largest(self) -> int:
        """Frames of the largest packet lately."""
        return max(self._lengths)

    def _pace(self) -> int:
        """Frames made in one go."""
        return self._largest if self._step is None else min(self._step, self._largest)

    def _first(self) -> float:
        """Time at which the first frames that nobody told are made."""
        assert self._since is not None
        return self._since + self._largest * HOP_SECONDS + self._late
