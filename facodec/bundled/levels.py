"""Level of a recording that a voice is enrolled from: the model takes quiet or loud speech for
another voice, so all is brought to a usual level first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NORMAL = -24.0
"""Level in dB of full scale that speech is brought to: that of most recordings, which change least
by it."""
FRAME = 640
"""Samples, 40 ms, of a frame."""
RANGE = 0.01
"""Share of the power of the loudest frames from which on a frame counts as speech."""
TINY = 1e-12

Samples = NDArray[np.float32]


def speech_level(samples: Samples) -> float:
    """Level in dB of full scale of the loud frames of samples (n,), offset aside."""
    padded = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
    powers = padded.var(axis=1, dtype=np.float64) if len(padded) else np.zeros(1)
    loud = powers[powers >= RANGE * np.percentile(powers, 95)]
    return float(10.0 * np.log10(loud.mean() + TINY))


def levelled(samples: Samples, level: float) -> Samples:
    """Samples (n,) whose speech has this level, brought to a usual one, or near it where their
    loudest would pass full scale; without their offset, which would pass it too."""
    gain = 10 ** ((NORMAL - level) / 20)
    centred = samples - np.float32(samples.mean(dtype=np.float64) if len(samples) else 0.0)
    loudest = max(float(np.abs(centred).max(initial=0.0)), TINY)
    brought: Samples = centred * np.float32(min(gain, 1 / loudest))
    return brought
