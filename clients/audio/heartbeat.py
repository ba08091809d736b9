"""Tells a sound device that has gone from a program that was stopped for a while."""

from __future__ import annotations

SILENCE_MEANS_LOST = 3.0
"""Seconds without a callback after which a device counts as gone."""
LOOK_EVERY = 0.5
"""Most seconds that one look adds. A program that stood still (Ctrl-Z, a closed laptop) finds much
time gone at its next look, but its device needs a moment to call again too."""


class Heartbeat:
    """Callbacks beat; whoever uses the device looks now and then."""

    def __init__(self, now: float) -> None:
        """``now``: monotonic seconds."""
        self._beats = 0
        self._seen = 0
        self._looked = now
        self._silence = 0.0

    def beat(self) -> None:
        """Takes note of a block; called in the audio callback."""
        self._beats += 1

    def lost(self, now: float) -> bool:
        """Whether the device has gone: silent for too long while it was looked at."""
        self._silence += min(now - self._looked, LOOK_EVERY)
        self._looked = now
        if self._beats != self._seen:
            self._seen, self._silence = self._beats, 0.0
        return self._silence > SILENCE_MEANS_LOST
