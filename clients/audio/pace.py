"""Sending a file at the pace of speech. Time is passed in; nothing here sleeps."""

from __future__ import annotations

from facodec.config import SAMPLE_RATE

LATE = 1.0
"""Further behind than this, in s (a lost connection, a suspended laptop), the schedule starts anew
instead of sending everything that was missed at once."""


class Pacer:
    """Times at which a file's samples would have been heard, had somebody spoken them."""

    def __init__(self, start: float, rate: int = SAMPLE_RATE) -> None:
        """``start``: time (s) at which the first sample is spoken."""
        self._start = start
        self._rate = rate
        self._samples = 0

    def spoken(self, samples: int, now: float) -> float:
        """The time at which the next ``samples`` have all been spoken; wait for it."""
        self._samples += samples
        due = self._start + self._samples / self._rate
        if now - due > LATE:
            self._start += now - due
            due = now
        return due
