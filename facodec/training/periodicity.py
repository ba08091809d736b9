"""Periodicity of speech, frame by frame, with a gradient: pitch trackers tell voices by it.

The strength of a frame is the normalised autocorrelation of Boersma (Proc. IFA 17, 1993) at the
best lag, as :mod:`facodec.training.pitch` finds candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facodec.bundled.features import PITCH_WINDOW
from facodec.bundled.prosody import HIGHEST, LOWEST
from facodec.config import HOP, SAMPLE_RATE
from facodec.training.pitch import SILENCE_THRESHOLD
from facodec.training.spectra import spectrum

SIZE = 2 * PITCH_WINDOW
TINY = 1e-7
"""Mean power below which a frame has no period."""


class PeriodicityDistance(nn.Module):
    """Mean distance of the strengths of two signals: each at its own best lag, and both at the
    reference's. Frames in which the reference is silent do not count."""

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(PITCH_WINDOW, periodic=False)
        lags = torch.arange(round(SAMPLE_RATE / HIGHEST), round(SAMPLE_RATE / LOWEST) + 1)
        bins = torch.arange(SIZE // 2 + 1)
        cosines = torch.cos(2.0 * torch.pi / SIZE * bins.unsqueeze(1) * lags)
        cosines[1:-1] *= 2.0
        own = spectrum(window, SIZE).square().sum(-1)
        shape = (own @ cosines) / (own @ _whole(bins))
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("cosines", cosines / shape.clamp_min(1e-3), persistent=False)
        self.register_buffer("whole", _whole(bins), persistent=False)

    window: Tensor
    cosines: Tensor
    whole: Tensor

    def forward(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """ours, theirs (B, N), a window of 50 ms at least -> (B,), 0 for equal signals."""
        heard, meant = (self.strengths(x) for x in (ours, theirs))
        peaks = theirs.unfold(1, PITCH_WINDOW, HOP).abs().amax(2)
        loud = (peaks > SILENCE_THRESHOLD * peaks.amax(1, keepdim=True)).to(ours)
        best, lag = meant.max(dim=2)
        at_best = torch.take_along_dim(heard, lag.unsqueeze(2), 2).squeeze(2)
        distance = 0.5 * ((heard.amax(2) - best).abs() + (at_best - best).abs())
        return (distance * loud).sum(1) / loud.sum(1).clamp_min(1.0)

    def strengths(self, audio: Tensor) -> Tensor:
        """Signals (B, N) -> correlation of each frame at each lag (B, T, lags), 1 at most."""
        windows = audio.unfold(1, PITCH_WINDOW, HOP)
        centred = (windows - windows.mean(2, keepdim=True)) * self.window
        power = spectrum(centred, SIZE).square().sum(-1)
        level = (power @ self.whole).unsqueeze(2) + TINY * PITCH_WINDOW * SIZE
        return (power @ self.cosines) / level


def _whole(bins: Tensor) -> Tensor:
    """Weights with which the bins of a real signal's power add up to that of all lags at 0."""
    weights = torch.full((len(bins),), 2.0)
    weights[0] = weights[-1] = 1.0
    return weights
