"""Stationary noise of a recording that a voice is enrolled from: the model takes it for a part of
the voice, so it is taken down first. Offset and hum, which the model does not hear, are none.

The gains are Wiener's on a-priori ratios found as decisions on the frame before direct (Ephraim &
Malah, IEEE Trans. ASSP 32, 1984); the noise is that of the quietest frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facodec.bundled.conditioning import condition
from facodec.bundled.levels import RANGE, TINY

Samples = NDArray[np.float32]
Powers = NDArray[np.float64]

WINDOW, STEP = 512, 128
QUIETEST = 0.1
"""Share of the frames whose mean is taken as the noise."""
CLEAN = 16.0
"""dB of speech over noise from which on a recording is left as it is."""
MORE = 2.0
"""Times the noise that is taken away, as it is more at times than in the quietest frames."""
LEAST = 0.1
"""Gain of what is noise alone; less would be heard as a voice's own silence."""
KEPT = 0.9
"""Share of the frame before in what is expected of a frame."""


def without_background(samples: Samples) -> Samples:
    """Samples (n,) with their noise taken down where speech is less than 16 dB above it."""
    window = np.hanning(WINDOW + 1)[:-1]
    powers = np.square(np.abs(_spectra(condition(samples), window)))
    edge = WINDOW // STEP  # frames that reach beyond the ends
    noise, ratio = _noise(powers[edge:-edge] if len(powers) > 2 * edge else powers)
    if ratio >= CLEAN:
        return samples
    spectra = _spectra(samples - samples.mean(), window)  # an offset that gains move is a sound
    parts = np.fft.irfft(spectra * _gains(powers, MORE * noise + TINY), WINDOW) * window
    out, weight = np.zeros(len(samples) + 2 * WINDOW), np.full(len(samples) + 2 * WINDOW, TINY)
    for number, part in enumerate(parts):
        place = slice(number * STEP, number * STEP + WINDOW)
        out[place] += part
        weight[place] += window**2
    return np.asarray((out / weight)[WINDOW : WINDOW + len(samples)], dtype=np.float32)


def _spectra(samples: Samples, window: Powers) -> NDArray[np.complex128]:
    padded = np.pad(samples, WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP] * window
    spectra: NDArray[np.complex128] = np.fft.rfft(frames)
    return spectra


def _noise(powers: Powers) -> tuple[Powers, float]:
    """Powers of the frames (T, bins) -> those of the noise (bins,), and how many dB the loud frames
    are above it."""
    whole = powers.sum(axis=1)
    quietest = np.argsort(whole)[: max(1, int(QUIETEST * len(whole)))]
    noise = powers[quietest].mean(axis=0)
    loud = whole[whole >= RANGE * np.percentile(whole, 95)].mean()
    return noise, float(10.0 * np.log10((loud + TINY) / (noise.sum() + TINY)))


def _gains(powers: Powers, noise: Powers) -> Powers:
    """Gains of the frames' bins (T, bins)."""
    gains, before = np.empty_like(powers), np.ones_like(noise)
    for now, ratio in enumerate(powers / noise):
        expected = KEPT * before + (1.0 - KEPT) * np.maximum(ratio - 1.0, 0.0)
        gains[now] = np.maximum(expected / (1.0 + expected), LEAST)
        before = np.square(gains[now]) * ratio
    return gains
