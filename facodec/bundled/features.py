"""Causal spectral features at one frame per hop: log-mels and the normalised autocorrelation.

Both look at windows that end where the frame ends, so they need no look-ahead. The streaming
state is the last :data:`HISTORY` samples before the frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from facodec.bundled.conditioning import TAKEN
from facodec.config import HOP, SAMPLE_RATE

MEL_BANDS = 80
MEL_WINDOW = 640
PITCH_WINDOW = 800
MIN_LAG, MAX_LAG = 32, 287
"""Autocorrelation lags kept, in samples: 500 Hz down to 55.7 Hz."""
LAGS = MAX_LAG - MIN_LAG + 1
HISTORY = PITCH_WINDOW - HOP
"""Samples before a frame's first one that its features look at."""
MEL_FLOOR = 1e-5
ENERGY_FLOOR = 1e-7
"""Mean power added to the autocorrelation's denominator: silence correlates with nothing."""


def mel_frequencies(hertz: Tensor) -> Tensor:
    """Frequency in Hz -> mel on Slaney's scale (linear to 1 kHz, logarithmic above)."""
    logarithmic = 15.0 + 27.0 * torch.log(hertz.clamp_min(1e-3) / 1000.0) / math.log(6.4)
    return torch.where(hertz < 1000.0, hertz * 3.0 / 200.0, logarithmic)


def mel_to_hertz(mel: Tensor) -> Tensor:
    """Inverse of :func:`mel_frequencies`."""
    return torch.where(
        mel < 15.0, mel * 200.0 / 3.0, 1000.0 * torch.exp((mel - 15.0) * math.log(6.4) / 27.0)
    )


def mel_filterbank(bands: int, n_fft: int, top: float = SAMPLE_RATE / 2) -> Tensor:
    """Triangular filters (n_fft // 2 + 1, bands), each of unit area (Slaney's normalisation)."""
    edges = mel_to_hertz(torch.linspace(0.0, float(mel_frequencies(torch.tensor(top))), bands + 2))
    bins = torch.linspace(0.0, SAMPLE_RATE / 2, n_fft // 2 + 1).unsqueeze(1)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    return torch.minimum(rising, falling).clamp_min(0.0) * (2.0 / (high - low))


def cepstral_lifter(bands: int, kept: int) -> Tensor:
    """Matrix (bands, bands) that smooths log-mels to their first ``kept`` cepstral coefficients
    (DCT-II): formants stay, the harmonics of the voice go."""
    order = torch.arange(kept, dtype=torch.float64).unsqueeze(1)
    place = torch.arange(bands, dtype=torch.float64) + 0.5
    cosines = torch.cos(math.pi * order * place / bands)
    cosines = cosines / cosines.square().sum(1, keepdim=True).sqrt()
    return (cosines.t() @ cosines).float()


class CausalFeatures(nn.Module):
    """Conditioned audio with its history -> log-mels, autocorrelation and level of every frame."""

    def __init__(self) -> None:
        super().__init__()
        pitch_window = torch.hann_window(PITCH_WINDOW, periodic=False)
        spectrum = torch.fft.rfft(pitch_window, 2 * PITCH_WINDOW).abs().square()
        window_correlation = torch.fft.irfft(spectrum)[: MAX_LAG + 1]
        given_back = torch.ones(MEL_BANDS)
        given_back[: len(TAKEN)] = 10.0 ** torch.tensor(TAKEN)
        for name, value in {
            "mel_window": torch.hann_window(MEL_WINDOW),
            "pitch_window": pitch_window,
            "mel_basis": mel_filterbank(MEL_BANDS, MEL_WINDOW) * given_back,
            "window_correlation": window_correlation / window_correlation[0],
        }.items():
            self.register_buffer(name, value, persistent=False)

    mel_window: Tensor
    pitch_window: Tensor
    mel_basis: Tensor
    window_correlation: Tensor

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """audio (B, HISTORY + 200 T) -> log10-mels (B, T, 80), autocorrelation (B, T, 256) and
        level in dB of full scale (B, T)."""
        frames = audio.unfold(-1, PITCH_WINDOW, HOP)
        recent = frames[..., PITCH_WINDOW - MEL_WINDOW :] * self.mel_window
        magnitude = torch.fft.rfft(recent).abs()
        mels = torch.log10((magnitude @ self.mel_basis).clamp_min(MEL_FLOOR))
        level = 10.0 * torch.log10(recent.square().mean(-1) + 1e-10)
        return mels, self._autocorrelation(frames * self.pitch_window), level

    def _autocorrelation(self, windowed: Tensor) -> Tensor:
        """Short-term autocorrelation over that of the window (Boersma 1993, eq. 9)."""
        power = torch.fft.rfft(windowed, 2 * PITCH_WINDOW).abs().square()
        correlation = torch.fft.irfft(power)[..., : MAX_LAG + 1] / self.window_correlation
        energy = correlation[..., :1] + ENERGY_FLOOR * PITCH_WINDOW
        strength: Tensor = (correlation / energy)[..., MIN_LAG:]
        return strength
