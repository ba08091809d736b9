"""Information perturbation (NANSY, Choi et al. 2021) on log-mels: another vocal tract, another
microphone, the same words."""

from __future__ import annotations

import torch
from torch import Tensor

from facodec.bundled.features import mel_frequencies, mel_to_hertz

LARGEST_WARP = 0.32
"""Octaves are log2(1 +- this): how far the frequency axis is stretched."""
EQUALISER_BANDS = 6
EQUALISER_DEVIATION = 0.3
"""Standard deviation of the random equaliser's gains, in log10 of amplitude (6 dB)."""


def perturb(mels: Tensor, share: float, random: torch.Generator) -> Tensor:
    """log10-mels (B, T, bands) -> the same with ``share`` of the rows warped and equalised."""
    batch, _, bands = mels.shape
    chosen = torch.rand(batch, generator=random) < share
    stretch = 1.0 + LARGEST_WARP * (2.0 * torch.rand(batch, generator=random) - 1.0)
    shape = torch.randn(batch, EQUALISER_BANDS, generator=random) * EQUALISER_DEVIATION
    equaliser = torch.nn.functional.interpolate(
        shape.unsqueeze(1), bands, mode="linear", align_corners=True
    )
    changed = _warp(mels, stretch.to(mels)) + equaliser.to(mels)
    return torch.where(chosen.to(mels.device).view(-1, 1, 1), changed, mels)


def _warp(mels: Tensor, stretch: Tensor) -> Tensor:
    """Read each band where it would lie with the frequency axis stretched by (B,)."""
    bands = mels.shape[-1]
    top = mel_frequencies(mels.new_tensor(8000.0))
    centres = mel_to_hertz((torch.arange(bands).to(mels) + 1) / (bands + 1) * top)
    wanted = mel_frequencies(centres.unsqueeze(0) / stretch.unsqueeze(1))
    position = (wanted / top * (bands + 1) - 1).clamp(0, bands - 1.001)
    low = position.floor().long()
    share = (position - low).unsqueeze(1)
    at = low.unsqueeze(1).expand(-1, mels.shape[1], -1)
    return mels.gather(2, at) * (1 - share) + mels.gather(2, at + 1) * share
