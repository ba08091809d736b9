"""Frames in place of lost ones, in the code domain, so that the decoder's own state carries on.

The bundled model's prosody codes say what they mean: the pitch is held and glides down as at the
end of a phrase, the level falls by a step (8 dB) every so often. The content is held; the detail,
which is right for one moment only, is left out after the first frame. After 80 ms nothing is
claimed to be speech any more: the frames fade into silence, under which comfort noise may lie
(:mod:`facodec.comfort`). All is a function of the last frame received and of how many are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import Codes
from facodec.config import ABSENT, CODE_LAYERS, HOP, MIN_LAYERS
from facodec.prosody import LEVELS, UNVOICED

HELD = 6
"""Frames, 75 ms, that are spoken on; after them comes the fade."""
DETAILED = 1
"""Frames that keep the detail."""
FALLING = 3
"""Frames for a step of 8 dB that the level falls."""
GLIDING = 2
"""Frames for a step of 1.7 % that the pitch falls."""
FADE = 4
"""Frames over which the sound fades out after :data:`HELD`; then it is silent."""


def concealed(last: NDArray[np.integer], missing: int) -> Codes:
    """The frame (6,) to decode in place of the ``missing``-th (from 1) after the last that came,
    ``last`` (K,) in K = 3..6 codes; absent codes are -1. A ValueError for other shapes."""
    if missing < 1 or not MIN_LAYERS <= len(last) <= CODE_LAYERS:
        raise ValueError(f"expected a frame of 3..6 codes and one missing, got {last}, {missing}")
    frame = np.full(CODE_LAYERS, ABSENT, np.int64)
    frame[: len(last)] = last
    pitch, level = divmod(int(last[0]), LEVELS)
    if pitch != UNVOICED:
        pitch = max(UNVOICED + 1, pitch - missing // GLIDING)
    frame[0] = max(0, level - missing // FALLING) + LEVELS * pitch
    if missing > DETAILED:
        frame[MIN_LAYERS:] = ABSENT
    return frame


@dataclass(frozen=True)
class Fade:
    """The gain that goes with concealment, by hop: a value, from which a step gives the next."""

    gain: float = 1.0

    def step(self, audio: NDArray[np.float32], missing: int) -> tuple[NDArray[np.float32], Fade]:
        """audio (200,) of the ``missing``-th frame lost in a row, 0 for one that came -> faded, and
        what follows. Out in :data:`FADE` frames after :data:`HELD`, back in within one."""
        if audio.shape != (HOP,):
            raise ValueError(f"expected a hop of {HOP} samples, got {audio.shape}")
        target = 1.0 if missing <= HELD else max(0.0, 1.0 - (missing - HELD) / FADE)
        if target == self.gain == 1.0:
            return audio, self
        ramp = self.gain + (target - self.gain) * _RAMP
        return (audio * ramp).astype(np.float32), Fade(target)


_RAMP = (1.0 - np.cos(np.pi * np.arange(1, HOP + 1) / HOP)) / 2.0
