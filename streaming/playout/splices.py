"""Sound made a little shorter or longer by whole periods, the idea of WSOLA."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def shorten(samples: np.ndarray, overlap: int, shortest: int, longest: int) -> np.ndarray:
    """Cut ``shortest`` to ``longest`` samples near the start of a packet under a crossfade.

    The first and the last sample stay, so that the neighbours still fit.
    """
    longest = min(longest, len(samples) - overlap)
    if longest < shortest:
        return samples
    lag = _best_lag(samples[:overlap], samples[shortest : longest + overlap], shortest)
    seam = _crossfade(samples[:overlap], samples[lag : lag + overlap])
    return np.concatenate([seam, samples[lag + overlap :]])


def lengthen(samples: np.ndarray, overlap: int, shortest: int, longest: int) -> np.ndarray:
    """Repeat ``shortest`` to ``longest`` samples at the end of a packet under a crossfade."""
    seam_at = len(samples) - overlap
    longest = min(longest, seam_at)
    if longest < shortest:
        return samples
    ending = samples[seam_at:]
    among = samples[seam_at - longest : len(samples) - shortest]
    lag = _best_lag(ending[::-1], among[::-1], shortest)
    seam = _crossfade(ending, samples[seam_at - lag : seam_at - lag + overlap])
    return np.concatenate([samples[:seam_at], seam, samples[seam_at - lag + overlap :]])


def _best_lag(pattern: np.ndarray, among: np.ndarray, first: int) -> int:
    """Lag (``first`` for the start of ``among``) where it resembles ``pattern`` most."""
    windows = sliding_window_view(among, len(pattern))
    energy = np.sqrt((windows**2).sum(axis=1) * (pattern**2).sum())
    likeness = (windows @ pattern) / np.maximum(energy, 1e-9)
    latest_best = len(likeness) - 1 - int(np.argmax(likeness[::-1]))  # in silence: the longest
    return first + latest_best


def _crossfade(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    weight = np.linspace(0.0, 1.0, len(old), dtype=np.float32)
    return old * (1 - weight) + new * weight
