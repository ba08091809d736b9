"""Stream resampling for live devices, with a delay of about a millisecond."""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

HALF_WIDTH = 16
"""Half length of the filter in samples of the lower rate: 1 ms at 16 kHz."""
PASSBAND = 0.92
"""Part of the lower rate's half that passes."""
KAISER_BETA = 8.0
"""About 80 dB of stop-band attenuation."""


class LiveResampler:
    """Rational resampling of mono float32 by a polyphase windowed sinc, sample by sample.

    soxr's stream holds back 10 to 50 ms and gives it out in lumps, which is right for files and
    too much between a microphone and an ear. Here every input sample brings out at once all that
    it can: the delay is ``delay`` seconds, always. Equal rates pass through untouched.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        common = gcd(from_rate, to_rate)
        self._up, self._down = to_rate // common, from_rate // common
        self._passes = from_rate == to_rate
        half = HALF_WIDTH * max(1.0, self._down / self._up)
        self._reach = int(np.ceil(half))
        self.delay = 0.0 if self._passes else self._reach / from_rate
        self._bank = _filter_bank(self._up, self._down, self._reach, half)
        self._waiting = np.zeros(2 * self._reach - 1, np.float32)
        self._phase = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """samples (n,) at the first rate -> what they complete at the second."""
        if self._passes or not len(samples):
            return samples
        waiting = np.concatenate([self._waiting, samples])
        windows = sliding_window_view(waiting, 2 * self._reach)[: len(samples)]
        count = -(-(len(samples) * self._up - self._phase) // self._down)
        ticks = self._phase + self._down * np.arange(max(0, count))
        out: np.ndarray = np.einsum(
            "nk,nk->n", windows[ticks // self._up], self._bank[ticks % self._up]
        )
        self._phase += self._down * max(0, count) - self._up * len(samples)
        self._waiting = waiting[len(samples) :]
        return out.astype(np.float32)

    def flush(self) -> np.ndarray:
        """The last ``delay`` seconds."""
        return self.push(np.zeros(0 if self._passes else self._reach, np.float32))


def _filter_bank(up: int, down: int, reach: int, half: float) -> np.ndarray:
    """(up, 2 reach): the taps for each fraction of an input sample; each row sums to 1."""
    cutoff = PASSBAND * min(1.0, up / down)
    fraction = np.arange(up)[:, None] / up
    distance = np.arange(-reach + 1, reach + 1)[None, :] - fraction
    inside = np.clip(1 - (distance / half) ** 2, 0, None)
    window = np.i0(KAISER_BETA * np.sqrt(inside)) * (inside > 0)
    taps = np.sinc(cutoff * distance) * window
    bank: np.ndarray = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    return bank
