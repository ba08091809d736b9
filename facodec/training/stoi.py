"""Short-time objective intelligibility, plain and extended, with a gradient (Taal et al. 2011,
Jensen & Taal 2016).

Both are read at 16 kHz with frames of the same 25.6 ms as the standard's at 10 kHz, whose bands end
below 4.3 kHz; frames that are silent in the reference are left out after the transform, not before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facodec.config import SAMPLE_RATE
from facodec.training.spectra import spectrum

WINDOW, STEP, SIZE = 410, 205, 820
"""Samples of a frame, from frame to frame, and of the transform."""
BANDS, LOWEST = 15, 150.0
"""Thirds of an octave, and the centre of the first in Hz."""
PART = 30
"""Frames of the 384 ms that are compared at once."""
CLIP = 1.0 + 10.0 ** (15.0 / 20.0)
"""Times the reference that a band's excess is cut at: a signal-to-distortion ratio of -15 dB."""
DYNAMIC = 40.0
"""dB below the loudest frame from which on one is silent."""
TINY = 1e-8


class Unintelligibility(nn.Module):
    """Distance to 1 of the mean of the plain and the extended measure."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW + 2)[1:-1], persistent=False)
        self.register_buffer("bands", _bands(), persistent=False)

    window: Tensor
    bands: Tensor

    def forward(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """ours, theirs (B, N) -> (B,), 0 for equal signals and for rows in which less than a part
        is not silent; rows shorter than a part are one."""
        heard, meant = self._frames(ours), self._frames(theirs)
        order, spoken = _spoken_first(meant.square().sum(-1))
        parts = [self._parts(x, order) for x in (heard, meant)]
        first, length = torch.arange(parts[0].shape[1], device=order.device), parts[0].shape[-1]
        valid = (first + length <= spoken.unsqueeze(1)).to(ours)
        missing = 1.0 - 0.5 * (_plain(*parts) + _extended(*parts))
        return (missing * valid).sum(1) / valid.sum(1).clamp_min(1.0)

    def _frames(self, audio: Tensor) -> Tensor:
        return audio.unfold(1, WINDOW, STEP) * self.window

    def _parts(self, frames: Tensor, order: Tensor) -> Tensor:
        """Windows (B, T, WINDOW) -> envelopes of their bands in parts (B, n, BANDS, t)."""
        power = spectrum(frames, SIZE).square().sum(-1) @ self.bands
        envelopes = (power + TINY).sqrt()
        chosen = torch.take_along_dim(envelopes, order.unsqueeze(-1), 1)
        return chosen.unfold(1, min(PART, chosen.shape[1]), 1)


def _bands() -> Tensor:
    """Bins (SIZE / 2 + 1, BANDS) of each band."""
    bins = torch.arange(SIZE // 2 + 1) * (SAMPLE_RATE / SIZE)
    edges = LOWEST * 2.0 ** ((torch.arange(BANDS + 1) - 0.5) / 3.0)
    nearest = (bins.unsqueeze(1) - edges).abs().argmin(0)
    member = torch.zeros(len(bins), BANDS)
    for band in range(BANDS):
        member[nearest[band] : nearest[band + 1], band] = 1.0
    return member


def _spoken_first(power: Tensor) -> tuple[Tensor, Tensor]:
    """Power of the reference's frames (B, T) -> an order of the frames in which those that are not
    silent come first, and their number (B,)."""
    floor = power.amax(1, keepdim=True) * 10.0 ** (-DYNAMIC / 10.0)
    silent = power <= floor
    return silent.to(torch.int8).argsort(dim=1, stable=True), (~silent).sum(1)


def _plain(heard: Tensor, meant: Tensor) -> Tensor:
    """Mean correlation of the bands' envelopes in each part (B, n)."""
    gain = (meant.square().sum(-1, keepdim=True) + TINY) / (
        heard.square().sum(-1, keepdim=True) + TINY
    )
    clipped = torch.minimum(heard * gain.sqrt(), CLIP * meant)
    return (_unit(clipped) * _unit(meant)).sum(-1).mean(-1)


def _extended(heard: Tensor, meant: Tensor) -> Tensor:
    """Mean correlation of the spectra of each part (B, n), its bands being made equal before."""
    spectra = [_unit(_unit(x).transpose(-1, -2)) for x in (heard, meant)]
    return (spectra[0] * spectra[1]).sum(-1).mean(-1)


def _unit(x: Tensor) -> Tensor:
    """Vectors along the last axis without their mean, of length 1."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().sum(-1, keepdim=True) + TINY).sqrt()
