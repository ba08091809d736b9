"""The disturbance that PESQ hears, with a gradient (ITU-T P.862 and P.862.2, wide band).

Time alignment is left out, as what the decoder says is aligned already, and both filters are
applied to the spectra. There remains the standard's model of hearing: Bark bands, loudness, and
what was added weighing more than what is missing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facodec.config import SAMPLE_RATE
from facodec.training.spectra import spectrum

WINDOW, STEP = 512, 256
LEVEL = 1e7
"""Mean power that both signals are brought to, between the two frequencies below."""
LEVEL_BAND = (325.0, 3250.0)
HIGH_PASS = ((2.740826, -5.4816519, 2.740826), (1.0, -1.9444777, 0.94597794))
"""The standard's filter of wide-band inputs, numerator and denominator."""
POWER_SCALE, LOUDNESS_SCALE = 6.910853e-6, 0.1866055
ZWICKER_POWER = 0.23
SILENT = 1e7
PARTS, PARTS_STEP, PART_POWER = 20, 10, 6.0
"""Frames of a third of a second that are joined by a norm of the sixth power."""
SYMMETRIC, ASYMMETRIC = 0.1, 0.0309
"""Points that a unit of each disturbance takes off the score, from 4.5."""


class Band(NamedTuple):
    """One band of the standard's table: bins of 31.25 Hz, centre and width in Bark, correction of
    its power, and the power at the threshold of hearing."""

    bins: int
    centre: float
    width: float
    correction: float
    threshold: float


BANDS = (
    Band(1, 0.078672, 0.157344, 100.0, 51286152.0),
    Band(1, 0.316341, 0.317994, 100.0, 2454709.5),
    Band(1, 0.636559, 0.322441, 100.0, 70794.59375),
    Band(1, 0.961246, 0.326934, 100.0, 4897.788574),
    Band(1, 1.290450, 0.331474, 100.0, 1174.897705),
    Band(1, 1.624217, 0.336061, 100.0, 389.045166),
    Band(1, 1.962597, 0.340697, 100.0, 104.71286),
    Band(1, 2.305636, 0.345381, 100.0, 45.70882),
    Band(2, 2.653383, 0.350114, 50.0, 17.782795),
    Band(1, 3.005889, 0.354897, 100.0, 9.772372),
    Band(1, 3.363201, 0.359729, 100.0, 4.897789),
    Band(1, 3.725371, 0.364611, 100.0, 3.090296),
    Band(1, 4.092449, 0.369544, 100.0, 1.905461),
    Band(1, 4.464486, 0.374529, 100.0, 1.258925),
    Band(2, 4.841533, 0.379565, 53.047077, 0.977237),
    Band(1, 5.223642, 0.384653, 110.0, 0.724436),
    Band(1, 5.610866, 0.389794, 117.991989, 0.562341),
    Band(2, 6.003256, 0.394989, 65.0, 0.457088),
    Band(2, 6.400869, 0.400236, 68.760147, 0.389045),
    Band(2, 6.803755, 0.405538, 70.0, 0.331131),
    Band(2, 7.211971, 0.410894, 71.428818, 0.295121),
    Band(2, 7.625571, 0.416306, 75.0, 0.269153),
    Band(2, 8.044611, 0.421773, 76.843384, 0.257040),
    Band(2, 8.469146, 0.427297, 80.968781, 0.251189),
    Band(2, 8.899232, 0.432877, 88.646126, 0.251189),
    Band(3, 9.334927, 0.438514, 63.864388, 0.251189),
    Band(3, 9.776288, 0.444209, 68.155350, 0.251189),
    Band(3, 10.223374, 0.449962, 72.547775, 0.263027),
    Band(3, 10.676242, 0.455774, 75.584831, 0.288403),
    Band(4, 11.134952, 0.461645, 58.379192, 0.309030),
    Band(3, 11.599563, 0.467577, 80.950836, 0.338844),
    Band(4, 12.070135, 0.473569, 64.135651, 0.371535),
    Band(5, 12.546731, 0.479621, 54.384785, 0.398107),
    Band(4, 13.029408, 0.485736, 73.821884, 0.436516),
    Band(5, 13.518232, 0.491912, 64.437073, 0.467735),
    Band(6, 14.013264, 0.498151, 59.176456, 0.489779),
    Band(6, 14.514566, 0.504454, 65.521278, 0.501187),
    Band(7, 15.022202, 0.510819, 61.399822, 0.501187),
    Band(8, 15.536238, 0.517250, 58.144047, 0.512861),
    Band(9, 16.056736, 0.523745, 57.004543, 0.524807),
    Band(9, 16.583761, 0.530308, 64.126297, 0.524807),
    Band(12, 17.117382, 0.536934, 54.311001, 0.524807),
    Band(12, 17.657663, 0.543629, 61.114979, 0.512861),
    Band(15, 18.204674, 0.550390, 55.077751, 0.478630),
    Band(16, 18.758478, 0.557220, 56.849335, 0.426580),
    Band(18, 19.319147, 0.564119, 55.628868, 0.371535),
    Band(21, 19.886751, 0.571085, 53.137054, 0.363078),
    Band(25, 20.461355, 0.578125, 54.985844, 0.416869),
    Band(20, 21.043034, 0.585232, 79.546974, 0.537032),
)


class PesqDisturbance(nn.Module):
    """The disturbance of speech, in points of the score before its last mapping."""

    def __init__(self) -> None:
        super().__init__()
        bins = torch.arange(WINDOW // 2 + 1) * (SAMPLE_RATE / WINDOW)
        angle = torch.exp(-2j * torch.pi * bins.double() / SAMPLE_RATE)
        gain = [sum(c * angle**k for k, c in enumerate(taps)) for taps in HIGH_PASS]
        power = (torch.as_tensor(gain[0]) / torch.as_tensor(gain[1])).abs().square().float()
        power[0] = 0.0  # the standard leaves the mean out
        members = torch.repeat_interleave(
            torch.arange(len(BANDS)), torch.tensor([band.bins for band in BANDS])
        )
        basis = torch.zeros(len(bins), len(BANDS))
        basis[torch.arange(len(members)), members] = 1.0
        table = torch.tensor([band[1:] for band in BANDS]).unbind(1)
        centre, width, correction, threshold = table
        inside = (bins >= LEVEL_BAND[0]) & (bins <= LEVEL_BAND[1])
        for name, value in {
            "window": torch.hann_window(WINDOW),
            "basis": basis * power.unsqueeze(1) * correction * POWER_SCALE,
            "inside": inside.float(),
            "threshold": threshold,
            "exponent": (6.0 / (centre + 2.0)).clamp(1.0, 2.0) ** 0.15 * ZWICKER_POWER,
            "width": width[1:],
        }.items():
            self.register_buffer(name, value, persistent=False)

    window: Tensor
    basis: Tensor
    inside: Tensor
    threshold: Tensor
    exponent: Tensor
    width: Tensor

    def forward(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """ours, theirs (B, N), a third of a second at least -> points (B,), 0 for equal signals."""
        degraded, reference = self._bands(ours), self._bands(theirs)
        audible = self._audible(reference, 100.0) >= SILENT
        means = [self._mean(each, audible) for each in (degraded, reference)]
        ratio = ((means[0] + 1e3) / (means[1] + 1e3)).clamp(0.01, 100.0)
        reference = reference * ratio.unsqueeze(1)
        gain = (self._audible(reference, 1.0) + 5e3) / (self._audible(degraded, 1.0) + 5e3)
        degraded = degraded * _smoothed(gain).clamp(3e-4, 5.0).unsqueeze(2)
        symmetric, asymmetric = self._disturbance(degraded, reference)
        weight = ((self._audible(reference, 1.0) + 1e5) / 1e7) ** 0.04
        points = [_over_time((each / weight).clamp(max=45.0)) for each in (symmetric, asymmetric)]
        return SYMMETRIC * points[0] + ASYMMETRIC * points[1]

    def _bands(self, audio: Tensor) -> Tensor:
        """Signals (B, N) -> power in each band of each frame (B, T, bands), all equally loud."""
        parts = spectrum(audio.unfold(1, WINDOW, STEP) * self.window)
        power = parts.square().sum(-1)
        loud = (power * self.inside).sum(-1).mean(1) * 2.0 / (WINDOW * self.window.square().sum())
        scale = LEVEL / (loud + 1e-9)
        return (power @ self.basis) * scale.view(-1, 1, 1)

    def _audible(self, bands: Tensor, factor: float) -> Tensor:
        """Power (B, T) of the bands that are so many times above the threshold."""
        return (bands * (bands > self.threshold * factor))[..., 1:].sum(-1)

    def _mean(self, bands: Tensor, frames: Tensor) -> Tensor:
        heard = bands * (bands > self.threshold * 100.0) * frames.unsqueeze(2)
        return heard.mean(1)

    def _loudness(self, bands: Tensor) -> Tensor:
        """Zwicker's loudness of each band, in sone."""
        at_least = torch.maximum(bands, self.threshold)
        rise = (0.5 + 0.5 * at_least / self.threshold) ** self.exponent - 1.0
        return LOUDNESS_SCALE * (2.0 * self.threshold) ** self.exponent * rise

    def _disturbance(self, degraded: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Both disturbances (B, T): of all differences, and of what was added."""
        a, b = self._loudness(degraded), self._loudness(reference)
        difference = a - b
        heard = torch.relu(difference.abs() - 0.25 * torch.minimum(a, b))
        added = ((degraded + 50.0) / (reference + 50.0)) ** 1.2
        added = torch.where(added < 3.0, 0.0, added.clamp(max=12.0))
        shares, total = self.width, self.width.sum()
        symmetric = (heard[..., 1:] * shares).square().sum(-1)
        symmetric = (symmetric * total + 1e-8).sqrt()
        return symmetric, ((heard * added)[..., 1:] * shares).sum(-1)


def _smoothed(ratio: Tensor) -> Tensor:
    """Each frame's ratio (B, T) with a fifth of the one before, and of what that had of its own."""
    out = 0.8 * ratio
    for back in range(1, 5):
        before = torch.nn.functional.pad(ratio, (back, 0), mode="replicate")[:, : ratio.shape[1]]
        out = out + (0.8 if back < 4 else 1.0) * 0.2**back * before
    return out


def _over_time(disturbance: Tensor) -> Tensor:
    """Disturbances of frames (B, T) -> of the whole (B,): the loudest moments count most."""
    size = min(PARTS, disturbance.shape[1])
    parts = disturbance.clamp_min(1e-6).unfold(1, size, min(PARTS_STEP, size))
    peaks = (parts**PART_POWER).mean(-1) ** (1.0 / PART_POWER)
    return peaks.square().mean(1).sqrt()
