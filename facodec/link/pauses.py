"""Frames in place of those that were not sent in a pause, for who wants a frame for every hop.

What was sent last before a pause is noise, as the decision holds on after speech
(:mod:`facodec.link.activity`). Its quietest frames follow one another in a shuffled order: one
frame held for long would hum. All is a function of those frames and of the place in the stream.

One decoder speaks speech and pauses, so that the noise keeps its colour from the one to the other;
of what is told of a pause its level counts, as far as that has changed since the pause began.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import Codes
from facodec.bundled.prosody import LEVELS
from facodec.config import HOP
from facodec.link.bands import Audio
from facodec.link.comfort import GLIDE, Description

MEMORY = 12
"""Frames before a pause that it is made of, all of them held after speech: 150 ms."""
MOST_CHANGE = 12.0
"""dB by which a pause gets louder or softer at most while it lasts."""
SHUFFLE = 2_654_435_761
"""Odd, near 2^32 divided by the golden ratio: its multiples spread evenly."""


def pause_frames(before: NDArray[np.integer], first: int, count: int) -> Codes:
    """Codes (K, count) of a pause from frame ``first`` on. ``before`` (K, m): the last frames that
    were sent, m = 0 where there were none."""
    layers, known = before.shape
    if not known:
        return np.zeros((layers, count), np.int64)
    levels = before[0] % LEVELS
    quiet = np.array(before[:, levels == levels.min()], np.int64)
    quiet[0] %= LEVELS  # unvoiced
    places = (np.arange(first, first + count, dtype=np.uint64) * SHUFFLE % (1 << 32)) >> 16
    return np.ascontiguousarray(quiet[:, (places % quiet.shape[1]).astype(np.int64)])


class PauseLevel:
    """Loudness of a pause's sound, so that it changes as that of the noise does which is told."""

    def __init__(self) -> None:
        self._told: float | None = None
        self._at_begin: float | None = None
        self._pauses = False
        self._gain = self._target = 0.0

    def speech(self) -> None:
        """Sent frames are heard from here on."""
        self._pauses, self._target = False, 0.0

    def pause(self, noise: bytes | None) -> None:
        """A pause begins or goes on. ``noise``: its :class:`Description`, nothing where it is as
        before."""
        if noise:
            self._told = Description.from_bytes(noise).level
        if not self._pauses or self._at_begin is None:
            self._at_begin = self._told
        self._pauses = True
        if self._told is not None and self._at_begin is not None:
            change = self._told - self._at_begin
            self._target = min(max(change, -MOST_CHANGE), MOST_CHANGE)

    def apply(self, sound: Audio) -> Audio:
        """Samples (n,) of the decoder, as loud as they are to be; themselves where that is so."""
        if self._gain == self._target:
            return sound if not self._gain else _times(sound, self._gain, self._gain)
        parts = []
        for start in range(0, len(sound), HOP):
            hop = sound[start : start + HOP]
            # Speech is not to be louder than it was: it has its own level within a hop.
            most = GLIDE if self._pauses else 2 * MOST_CHANGE
            step = min(max(self._target - self._gain, -most), most)
            parts.append(_times(hop, self._gain, self._gain + step))
            self._gain += step
        return np.concatenate(parts) if parts else sound


def _times(sound: Audio, first: float, last: float) -> Audio:
    """Samples (n,) times a gain that goes from ``first`` to ``last`` dB."""
    gains = 10.0 ** (np.linspace(first, last, len(sound)) / 20.0)
    return (sound * gains).astype(np.float32)
