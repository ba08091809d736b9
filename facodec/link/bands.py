"""Power of sound in eight bands, hop by hop: what voice activity and comfort noise look at."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from facodec.config import HOP, SAMPLE_RATE

EDGES = (80.0, 300.0, 600.0, 1000.0, 1500.0, 2200.0, 3200.0, 4800.0, 8000.0)
"""Hz between which the bands lie; below the first is hum and rumble."""
BANDS = len(EDGES) - 1
WINDOW = 2 * HOP
FLOOR = 1e-10
"""Mean square that counts as nothing, -100 dB of full scale."""

Audio = NDArray[np.float32]
Powers = NDArray[np.float64]

HANN = np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW) ** 2
_FREQUENCIES = np.fft.rfftfreq(WINDOW, 1.0 / SAMPLE_RATE)
MEMBERS = np.array([(low <= _FREQUENCIES) & (high > _FREQUENCIES) for low, high in pairwise(EDGES)])
MEMBERS[-1, -1] = True
"""Bins of a Fourier transform of :data:`WINDOW` samples belong to each band (8, 201)."""
_TO_MEAN_SQUARE = 2.0 / (WINDOW * float((HANN**2).sum()))
_WEIGHTS = MEMBERS.T * _TO_MEAN_SQUARE


class BandMeter:
    """Mean square of the last two hops in each band, once a hop."""

    def __init__(self) -> None:
        self._before: Audio = np.zeros(HOP, np.float32)

    def push(self, hop: Audio) -> Powers:
        """hop (200,) -> powers (8,), whose sum is the mean square from 80 Hz up."""
        if hop.shape != (HOP,):
            raise ValueError(f"expected a hop of {HOP} samples, got {hop.shape}")
        spectrum = np.fft.rfft(np.concatenate((self._before, hop)) * HANN)
        self._before = hop
        return np.asarray((spectrum.real**2 + spectrum.imag**2) @ _WEIGHTS)


def decibel(powers: Powers) -> Powers:
    """Mean squares in dB of full scale, at least -100."""
    return np.asarray(10.0 * np.log10(np.maximum(powers, FLOOR)))
