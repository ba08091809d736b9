"""The pitch teacher: autocorrelation candidates and the best path through them.

Boersma's method (Proc. IFA 17, 1993, the one in Praat) on the pitch classes of the prosody code:
windows centred on the frame, unlike the encoder's, and a path search that knows the future.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facodec.bundled.features import PITCH_WINDOW
from facodec.bundled.prosody import HIGHEST, LOWEST, PITCH_CLASSES, STEP
from facodec.config import HOP, SAMPLE_RATE

VOICING_THRESHOLD = 0.45
SILENCE_THRESHOLD = 0.06
OCTAVE_COST = 0.02
JUMP_COST, VOICING_COST = 0.28, 0.11
"""Per octave and per change of voicing, both already scaled to a 12.5 ms step."""
UPSAMPLING = 4
POINTS = 13
"""Lags looked at within each pitch class."""
BLOCK = 512


def track_pitch(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """samples (200 T,) at 16 kHz -> pitch (T,) in Hz at the middle of each frame, 0 = unvoiced."""
    frames = len(samples) // HOP
    x = torch.from_numpy(np.ascontiguousarray(samples[: frames * HOP]))
    side = (PITCH_WINDOW - HOP) // 2
    windows = torch.nn.functional.pad(x, (side, side)).unfold(0, PITCH_WINDOW, HOP)
    parts = [_candidates(block) for block in windows.split(BLOCK)]
    strength, hertz = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    path = _best_path(_scores(strength, windows.abs().amax(1).numpy()))
    chosen = hertz[np.arange(frames), np.maximum(path - 1, 0)]
    return np.where(path > 0, chosen, 0.0).astype(np.float32)


def _class_lags() -> Tensor:
    """Lags in samples (classes, POINTS) that each voiced pitch class spans."""
    centres = np.log(LOWEST) + STEP * np.arange(PITCH_CLASSES - 1)
    inside = STEP * np.linspace(-0.5, 0.5, POINTS)
    return torch.from_numpy(SAMPLE_RATE / np.exp(centres[:, None] + inside))


def _candidates(windows: Tensor) -> tuple[Tensor, Tensor]:
    """windows (T, 800) -> strongest correlation within each class and where, Hz (T, 127)."""
    shape = torch.hann_window(PITCH_WINDOW, periodic=False)
    centred = (windows - windows.mean(1, keepdim=True)) * shape
    correlation = _correlate(centred) / _correlate(shape.unsqueeze(0)).clamp_min(1e-3)
    lags = _class_lags()
    index = (lags * UPSAMPLING).round().long()
    points = correlation[:, index.flatten()].view(len(windows), *index.shape)
    strength, which = points.max(dim=2)
    frequency = SAMPLE_RATE / lags
    return strength, frequency.expand_as(points).gather(2, which.unsqueeze(2)).squeeze(2).float()


def _correlate(x: Tensor) -> Tensor:
    """Autocorrelation over that at lag 0, at lags of 1 / UPSAMPLING samples."""
    power = torch.fft.rfft(x, 2 * PITCH_WINDOW).abs().square()
    correlation: Tensor = torch.fft.irfft(power, 2 * PITCH_WINDOW * UPSAMPLING)
    return correlation / (correlation[:, :1] + 1e-12)


def _scores(strength: NDArray[np.float32], peaks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Merit (T, 128) of calling each frame unvoiced (column 0) or of each pitch."""
    loudness = peaks / max(float(np.percentile(peaks, 99)), 1e-4)
    quiet = 2.0 - loudness / (SILENCE_THRESHOLD / (1.0 + VOICING_THRESHOLD))
    unvoiced = VOICING_THRESHOLD + np.maximum(0.0, quiet)
    octaves = np.linspace(0.0, np.log2(HIGHEST / LOWEST), PITCH_CLASSES - 1)
    voiced = strength + OCTAVE_COST * octaves
    return np.concatenate((unvoiced[:, None], voiced), axis=1).astype(np.float32)


def _best_path(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Viterbi: the path (T,) of classes with the best sum of merits less its changes' costs."""
    position = np.arange(PITCH_CLASSES - 1) * STEP / np.log(2.0)
    cost = np.full((PITCH_CLASSES, PITCH_CLASSES), VOICING_COST, dtype=np.float32)
    cost[1:, 1:] = JUMP_COST * np.abs(position[:, None] - position)
    cost[0, 0] = 0.0
    best, back = scores[0], np.zeros(scores.shape, dtype=np.int64)
    for t in range(1, len(scores)):
        total = best[:, None] - cost
        back[t] = total.argmax(axis=0)
        best = total.max(axis=0) + scores[t]
    path = np.zeros(len(scores), dtype=np.int64)
    path[-1] = int(best.argmax())
    for t in range(len(scores) - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path
