"""Frames in place of those that were not sent in a pause, for who wants a frame for every hop.

What was sent last before a pause is noise, as the decision holds on after speech
(:mod:`facodec.link.activity`). The quietest of the last frames follow one another in a shuffled
order: one frame held for long would hum. All is a function of those frames and of the place in the
stream.

One decoder speaks speech and pauses, so that the noise keeps its colour from the one to the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import Codes
from facodec.bundled.prosody import LEVELS

MEMORY = 12
"""Frames before a pause of which it is made, 150 ms: the quietest were held after speech."""
HELD = 4
"""Frames before a pause that are noise for sure, of which those a step louder count too: the level
code is coarse, and one frame that is quieter by chance would make the whole pause so."""
SHUFFLE = 2_654_435_761
"""Odd, near 2^32 divided by the golden ratio: its multiples spread evenly."""


def pause_frames(before: NDArray[np.integer], first: int, count: int) -> Codes:
    """Codes (K, count) of a pause from frame ``first`` on. ``before`` (K, m): the last frames that
    were sent, m = 0 where there were none."""
    layers, known = before.shape
    if not known:
        return np.zeros((layers, count), np.int64)
    above = before[0] % LEVELS - (before[0] % LEVELS).min()
    at_end = np.arange(known) >= known - HELD
    quiet = np.array(before[:, (above == 0) | ((above == 1) & at_end)], np.int64)
    quiet[0] %= LEVELS  # unvoiced
    places = (np.arange(first, first + count, dtype=np.uint64) * SHUFFLE % (1 << 32)) >> 16
    return np.ascontiguousarray(quiet[:, (places % quiet.shape[1]).astype(np.int64)])
