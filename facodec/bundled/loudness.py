"""Loudness of speech without detail codes: as its prosody codes say, whatever the voice.

What a decoder makes of a voice that the content was not heard in is up to 8 dB too loud or too
quiet, and by much the same over a sentence. The level codes say, in steps of 8 dB, how loud each
frame was; over some frames the steps average out. So a gain follows the ratio of both powers. It is
the listener's affair, and nothing of it travels. With detail codes the level of speech is
right by itself; that of a held synthetic vowel is not (docs/live.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facodec.bundled.prosody import LEVEL_BOTTOM, LEVEL_STEP, LEVELS, UNVOICED
from facodec.config import ABSENT, HOP, MIN_LAYERS

MEMORY = 160.0
"""Voiced frames, 2 s of voice, over which powers are compared."""
PRIOR = 3.0
"""Voiced frames for which nothing is wrong, to begin with."""
MOST = 12.0
"""dB of gain, up or down."""
WINDOW = 0.375
"""Mean square of the window that a frame's level is measured in."""
EXCESS = 0.7
"""dB that the middles of the steps are too loud for speech, most of which is in their lower half;
measured on training speech."""
SILENCE = 1e-9
"""Power added to what was spoken."""

MIDDLES = LEVEL_BOTTOM + LEVEL_STEP * (np.arange(LEVELS) - 0.5) - EXCESS
POWERS: list[float] = (10.0 ** (MIDDLES / 10.0) / WINDOW).tolist()
"""Mean square of the samples, by level class."""
RAMP = np.arange(1, HOP + 1, dtype=np.float32) / np.float32(HOP)

FORGOTTEN = 16 * MEMORY
"""Voiced frames after which what was before has faded to a ten-millionth."""

Audio = NDArray[np.float32]


def forgets_level(codes: NDArray[np.int64]) -> bool:
    """Whether the gain after these frames (K, n) does not depend on what was before them, given
    that it had as many codes a frame."""
    if len(codes) > MIN_LAYERS:
        return True
    return bool(np.count_nonzero(codes[0] // LEVELS != UNVOICED) >= FORGOTTEN)


@dataclass(frozen=True)
class Loudness:
    """Faded sums over voiced frames of the powers coded and spoken, how many frames they are, and
    the gain at the end of the last hop. A value: a step gives the next one."""

    coded: float = 0.0
    spoken: float = 0.0
    frames: float = 0.0
    gain: float = 1.0

    def step(self, codes: NDArray[np.int64], audio: Audio) -> tuple[Audio, Loudness]:
        """Audio (200 m,) that became complete with codes (K, n), absent ones left out or -1, the
        newest hops with the newest frames -> the same audio as loud as coded, and what follows."""
        whole = len(codes) > MIN_LAYERS and bool((codes[MIN_LAYERS] != ABSENT).all())
        if not len(audio) or (whole and self.gain == 1.0):
            return audio, self
        hops, state = audio.reshape(-1, HOP).copy(), self
        for hop, frame in zip(hops, codes.T[-len(hops) :], strict=True):
            state = state._hop(frame, hop)
        return hops.reshape(-1), state

    def last(self, audio: Audio) -> Audio:
        """The samples still owed at the end of a stream."""
        return audio if self.gain == 1.0 else audio * np.float32(self.gain)

    def _hop(self, frame: NDArray[np.int64], hop: Audio) -> Loudness:
        """Changes the hop in place."""
        after = self
        if len(frame) > MIN_LAYERS and frame[MIN_LAYERS] != ABSENT:
            after = Loudness(self.coded, self.spoken, self.frames)
        else:
            pitch, level = divmod(int(frame[0]), LEVELS)
            if pitch != UNVOICED:
                after = self._heard(POWERS[level], float(hop @ hop) / HOP)
        if self.gain != 1.0 or after.gain != 1.0:
            hop *= np.float32(self.gain) + np.float32(after.gain - self.gain) * RAMP
        return after

    def _heard(self, coded: float, spoken: float) -> Loudness:
        fades = 1.0 - 1.0 / MEMORY
        coded, spoken = self.coded * fades + coded, self.spoken * fades + spoken + SILENCE
        frames = self.frames * fades + 1.0
        wrong = 10.0 * math.log10(coded / spoken) * frames / (frames + PRIOR)
        return Loudness(coded, spoken, frames, 10.0 ** (min(max(wrong, -MOST), MOST) / 20.0))
