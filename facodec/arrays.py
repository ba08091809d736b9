"""Checked samples and timbres: numpy or PyTorch in, plain arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from facodec.config import LARGEST_TIMBRE, LOUDEST, TIMBRE_DIM

Audio = NDArray[np.float32]
Codes = NDArray[np.int64]
Timbre = NDArray[np.float32]


def check_timbre(timbre: ArrayLike | Tensor) -> Timbre:
    """Checked timbre (256,) as float32: finite and not absurd; else a ValueError."""
    array = np.asarray(as_array(timbre), dtype=np.float32)
    if array.shape != (TIMBRE_DIM,):
        raise ValueError(f"expected a timbre of shape ({TIMBRE_DIM},), got {array.shape}")
    largest = float(np.abs(array).max())
    if not largest <= LARGEST_TIMBRE:
        raise ValueError(
            f"expected a timbre of finite numbers up to {LARGEST_TIMBRE:g}, got {largest:g}"
        )
    return array


def as_samples(audio: ArrayLike | Tensor) -> Audio:
    """Checked audio as float32 (n,): mono, finite, about full scale 1; else a ValueError."""
    array = as_array(audio)
    if array.ndim != 1:
        raise ValueError(f"expected audio of one channel, (samples,), got {array.shape}")
    if not np.issubdtype(array.dtype, np.floating):
        if array.size == 0:
            return np.zeros(0, dtype=np.float32)
        raise ValueError(f"expected audio in floats of full scale 1.0, got {array.dtype}")
    samples = array.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise ValueError("expected finite samples of audio, got NaN or infinity")
    if samples.size and float(np.abs(samples).max()) > LOUDEST:
        raise ValueError(
            f"expected audio of full scale 1.0, got {float(np.abs(samples).max()):.4g}"
        )
    return samples


def as_array(values: ArrayLike | Tensor) -> NDArray[Any]:
    """Values on the host, copied only where they are elsewhere."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
