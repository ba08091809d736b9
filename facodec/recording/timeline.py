"""Positions in a recording of frames that come from a room: right after each other, or after a
gap."""

from __future__ import annotations

from facodec.config import HOP, SAMPLE_RATE
from facodec.recording.blocks import MOST_SAMPLES

PAUSE = 0.5
"""Seconds by which frames have to be captured later than they would lie: then there is a gap, as
where a microphone was off. Less is the jitter of clocks."""
LEAST = PAUSE / 2
"""Seconds of a gap at least that came in time as well as in the stamps: less is jitter."""
LEAK = 0.01
"""Share by which the clock of who talks is followed with each packet."""


class Timeline:
    """Places for frames, in samples. ``position``: after what is there already."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self._expected: int | None = None
        self._anchor: float | None = None
        self._came = 0.0
        self._arrived: float | None = None

    @property
    def full(self) -> bool:
        """Whether what was placed last is past the end of a file."""
        return self.position > MOST_SAMPLES

    def restart(self) -> None:
        """Prepares for frames that are numbered and stamped anew: when it arrives tells how long
        nothing came."""
        self._expected = self._anchor = None

    def place(self, seq: int, frames: int, captured: float | None, now: float) -> int:
        """The sample at which frames begin that are numbered from ``seq`` on. ``captured``: when
        the last of them was, in s on any one clock, None where that is not told; ``now``: when they
        have arrived, s."""
        length = frames * HOP
        start = self.position
        if self._expected is not None:
            start += max(0, seq - self._expected) * HOP
        elif self._arrived is not None:
            start += max(0, round((now - self._arrived) * SAMPLE_RATE) - length)
        if captured is not None:
            end = (start + length) / SAMPLE_RATE
            start += self._pause(captured - end, now - end)
        self.position = start + length
        self._expected, self._arrived = seq + frames, now
        return start

    def _pause(self, anchor: float, came: float) -> int:
        """Samples by which frames come late, given when the recording would have begun by their
        capture time and by when they came. Few packets are stamped, so what was waited for counts
        since the first of them; never more than that, whatever the stamps say."""
        if self._anchor is None:
            self._came = came
        self._came = min(self._came, came)
        if self._anchor is None or anchor < self._anchor:  # a file comes faster than speech
            self._anchor = anchor
            return 0
        late = anchor - self._anchor
        if not late > PAUSE:
            self._anchor += LEAK * late
            return 0
        pause = min(late, came - self._came)
        pause = pause if pause > LEAST else 0.0
        self._anchor += late - pause
        return round(pause * SAMPLE_RATE)
