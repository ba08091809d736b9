"""Spectral distances between what went in and what came out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facodec.bundled.features import mel_filterbank
from facodec.training.spectra import frames, spectrum

WINDOWS = {128: 10, 256: 20, 512: 40, 1024: 80, 2048: 120}
"""STFT window in samples -> mel bands compared at that resolution."""
LINEAR_WEIGHT = 0.3
LOUDNESS_WEIGHT = 3.0
LOUDNESS_POWER, LOUDNESS_FLOOR = 0.3, 1e-4
"""Loudness grows with the 0.3rd power of intensity (Stevens 1957); taken of amplitudes here, it
weighs loud bands more than a logarithm and less than the amplitude itself."""
FLOOR = 1e-5
COLOUR_WINDOW, COLOUR_BANDS = 512, 40
LOUD = 10.0**-2
"""Share of the power of the loudest frame above which a frame is loud: vowels, mostly."""


class MelDistance(nn.Module):
    """Mean L1 of log10-mels over several resolutions, plus some of the same on linear mels and
    on mels compressed as loudness is."""

    def __init__(self) -> None:
        super().__init__()
        for size, bands in WINDOWS.items():
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)
            self.register_buffer(f"basis_{size}", mel_filterbank(bands, size), persistent=False)

    def forward(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """ours, theirs (B, N) -> scalar."""
        total = ours.new_zeros(())
        both = torch.cat((ours, theirs))
        for size in WINDOWS:
            window, basis = getattr(self, f"window_{size}"), getattr(self, f"basis_{size}")
            parts = spectrum(frames(both, size) * window)
            # The small constant keeps the gradient of the magnitude finite at zero.
            magnitude = (parts.square().sum(-1) + 1e-12).sqrt()
            a, b = (magnitude @ basis).float().chunk(2)
            logs = (a.clamp_min(FLOOR).log10() - b.clamp_min(FLOOR).log10()).abs().mean()
            loud = (_loudness(a) - _loudness(b)).abs().mean()
            total = total + logs + LINEAR_WEIGHT * (a - b).abs().mean() + LOUDNESS_WEIGHT * loud
        return total / len(WINDOWS)


class ColourDistance(nn.Module):
    """Mean squared distance of the colours of voices: of their mean log10-mels over loud frames,
    in bel, whatever their levels."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(COLOUR_WINDOW), persistent=False)
        basis = mel_filterbank(COLOUR_BANDS, COLOUR_WINDOW)
        self.register_buffer("basis", basis, persistent=False)

    window: Tensor
    basis: Tensor

    def forward(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """ours (B, N), theirs (B, M) -> scalar."""
        colours: Tensor = self._colour(ours) - self._colour(theirs)
        return colours.square().mean()

    def _colour(self, audio: Tensor) -> Tensor:
        parts = spectrum(frames(audio, COLOUR_WINDOW) * self.window)
        powers = parts.square().sum(-1) @ self.basis
        logs = (powers + FLOOR**2).log10()
        loudness = powers.detach().sum(-1)
        loud = (loudness >= LOUD * loudness.amax(1, keepdim=True)).float()
        loud = (loud / loud.sum(1, keepdim=True)).unsqueeze(-1)
        mean: Tensor = (logs * loud).sum(1)
        return mean - mean.mean(1, keepdim=True)


def _loudness(mels: Tensor) -> Tensor:
    return (mels + LOUDNESS_FLOOR) ** LOUDNESS_POWER


def level_difference(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean distance of the rows' levels, ours, theirs (B, N), in bel: log-mels alone would rather
    be too quiet than too loud."""
    powers = (x.square().mean(1) + 1e-7 for x in (ours, theirs))
    a, b = (power.log10() for power in powers)
    return (a - b).abs().mean()


def pitch_targets(classes: Tensor, count: int) -> Tensor:
    """Pitch classes (B, T) -> soft targets (B, T, count): voiced ones blurred over neighbours."""
    grid = torch.arange(count, device=classes.device)
    distance = (grid - classes.unsqueeze(-1)).float()
    blurred = torch.exp(-0.5 * distance.square()) * (grid > 0)
    blurred = blurred / blurred.sum(-1, keepdim=True)
    unvoiced = (grid == 0).float().expand_as(blurred)
    return torch.where((classes > 0).unsqueeze(-1), blurred, unvoiced)
