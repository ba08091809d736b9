"""The bundled model's signal processing without Fourier transforms, for exported graphs.

ONNX's DFT operator is slow where the length is no power of two, and not there for every runtime.
At the sizes of one hop exact matrix products do the same. Each class stands in for the module it
is made from, with ``hops`` frames a call.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled.features import (
    ENERGY_FLOOR,
    MAX_LAG,
    MEL_FLOOR,
    MEL_WINDOW,
    MIN_LAG,
    PITCH_WINDOW,
    CausalFeatures,
)
from facodec.bundled.synthesis import (
    BINS,
    N_FFT,
    NOISE_FRAMES,
    SUBFRAMES,
    SUBHOP,
    TAIL,
    TOP_HARMONIC,
    WINDOW,
    SynthesisState,
    Synthesizer,
    dirichlet,
)
from facodec.config import HOP, SAMPLE_RATE

LAG_BLOCK = 16
"""Samples that an autocorrelation takes at a time; a divisor of the window."""


def transform(size: int, n_fft: int) -> Tensor:
    """Matrix (size, 2 bins): a real signal to the real parts of its spectrum, then the imaginary
    ones."""
    spectrum = torch.fft.rfft(torch.eye(size, dtype=torch.float64), n_fft)
    return torch.cat((spectrum.real, spectrum.imag), dim=1).float()


def inverse_transform(n_fft: int) -> Tensor:
    """Matrix (2 bins, n_fft): the way back from what :func:`transform` gives."""
    bins = n_fft // 2 + 1
    eye = torch.eye(bins, dtype=torch.complex128)
    matrix: Tensor = torch.fft.irfft(torch.cat((eye, 1j * eye)), n_fft).float()
    return matrix


class GraphFeatures(nn.Module):
    """:class:`facodec.bundled.features.CausalFeatures` by matrix products."""

    def __init__(self, features: CausalFeatures, hops: int) -> None:
        super().__init__()
        self.hops = hops
        starts = torch.arange(hops).unsqueeze(1) * HOP
        self.frames = (starts + torch.arange(PITCH_WINDOW)).flatten()
        self.mel_window, self.pitch_window = features.mel_window, features.pitch_window
        self.mel_basis, self.window_correlation = features.mel_basis, features.window_correlation
        self.transform = transform(MEL_WINDOW, MEL_WINDOW)
        # Row i of ``lagged`` has all that block i of a window is multiplied with.
        blocks = torch.arange(PITCH_WINDOW // LAG_BLOCK).unsqueeze(1) * LAG_BLOCK
        self.width = LAG_BLOCK + MAX_LAG
        self.lagged = (blocks + torch.arange(self.width)).flatten()
        places = torch.arange(LAG_BLOCK).unsqueeze(1)
        self.diagonals = (places * (self.width + 1) + torch.arange(MAX_LAG + 1)).flatten()

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """audio (B, 600 + 200 hops) -> as the module it stands in for."""
        frames = audio.index_select(1, self.frames).unflatten(1, (self.hops, PITCH_WINDOW))
        recent = frames[..., PITCH_WINDOW - MEL_WINDOW :] * self.mel_window
        real, imaginary = (recent @ self.transform).chunk(2, dim=-1)
        magnitude = torch.sqrt(real * real + imaginary * imaginary)
        mels = torch.log10((magnitude @ self.mel_basis).clamp_min(MEL_FLOOR))
        level = 10.0 * torch.log10((recent * recent).mean(-1) + 1e-10)
        return mels, self._autocorrelation(frames * self.pitch_window), level

    def _autocorrelation(self, windowed: Tensor) -> Tensor:
        """The sums of products over blocks of the window are one product of matrices, whose
        diagonals added up are the lags."""
        blocks = windowed.unflatten(-1, (-1, LAG_BLOCK))
        padded = F.pad(windowed, (0, MAX_LAG))
        lagged = padded.index_select(2, self.lagged).unflatten(-1, (-1, self.width))
        products = (blocks.transpose(2, 3) @ lagged).flatten(2)
        by_lag = products.index_select(2, self.diagonals).unflatten(-1, (LAG_BLOCK, -1)).sum(2)
        correlation = by_lag / self.window_correlation
        energy = correlation[..., :1] + ENERGY_FLOOR * PITCH_WINDOW
        strength: Tensor = (correlation / energy)[..., MIN_LAG:]
        return strength


class GraphSynthesizer(nn.Module):
    """:class:`facodec.bundled.synthesis.Synthesizer` by matrix products."""

    def __init__(self, synthesizer: Synthesizer, hops: int) -> None:
        super().__init__()
        self.hops = hops
        self.log_gain, self.phase_of_gain = synthesizer.log_gain, synthesizer.phase_of_gain
        self.phase_correction, self.ramp = synthesizer.phase_correction, synthesizer.ramp
        noise = synthesizer.noise_frames
        self.noise_frames = torch.cat((noise.real, noise.imag), dim=1)
        self.transform = synthesizer.window.unsqueeze(1) * transform(WINDOW, N_FFT)
        self.inverse = inverse_transform(N_FFT)
        starts = torch.arange(SUBFRAMES * hops).unsqueeze(1) * SUBHOP
        self.windows = (starts + torch.arange(WINDOW)).flatten()

    def forward(
        self,
        pitch: Tensor,
        harmonic: Tensor,
        noise: Tensor,
        correction: Tensor,
        state: SynthesisState,
    ) -> tuple[Tensor, SynthesisState]:
        """Runs the module that this one stands in for, with T = hops."""
        pulses, state = self._pulses(pitch.double(), state)
        excitation = torch.cat((state.pulses, pulses), dim=1)
        windows = excitation.index_select(1, self.windows).unflatten(1, (-1, WINDOW))
        phase = harmonic @ self.phase_of_gain + correction @ self.phase_correction
        voiced = self._shaped(windows @ self.transform, harmonic, phase)
        count = SUBFRAMES * self.hops
        index = (state.noise.unsqueeze(1) + torch.arange(count)) % NOISE_FRAMES
        unvoiced = self._shaped(self.noise_frames[index], noise, noise @ self.phase_of_gain)
        summed = self._overlap_add((voiced + unvoiced) @ self.inverse, state.tail)
        after = SynthesisState(
            phase=state.phase,
            pitch=state.pitch,
            voiced=state.voiced,
            pulses=excitation[:, -SUBHOP:],
            noise=(state.noise + count) % NOISE_FRAMES,
            tail=summed[:, count * SUBHOP :],
        )
        return summed[:, : count * SUBHOP], after

    def _shaped(self, spectrum: Tensor, log_bands: Tensor, phase: Tensor) -> Tensor:
        """The spectrum (B, n, 2 bins) times the filter of this gain (natural log) and phase."""
        gain = torch.exp(log_bands @ self.log_gain)
        real, imaginary = gain * torch.cos(phase), gain * torch.sin(phase)
        left, right = spectrum.split(BINS, dim=-1)
        return torch.cat((left * real - right * imaginary, left * imaginary + right * real), dim=-1)

    def _pulses(self, pitch: Tensor, state: SynthesisState) -> tuple[Tensor, SynthesisState]:
        """One hop after the other: the same as all at once."""
        phase, last, was_voiced = state.phase, state.pitch, state.voiced
        parts = []
        for hop in range(self.hops):
            voiced = pitch[:, hop] > 0
            held = torch.where(voiced, pitch[:, hop], last)
            before = torch.where(was_voiced, last, held)
            slope = (held - before).unsqueeze(1) / (2 * HOP)
            rise = (before.unsqueeze(1) + slope * self.ramp) * self.ramp / SAMPLE_RATE
            turns = phase.unsqueeze(1) + rise
            harmonics = (TOP_HARMONIC / torch.maximum(before, held)).floor().unsqueeze(1)
            parts.append(dirichlet((turns - turns.floor()).float(), harmonics.float()))
            end = phase + (before + held) * (HOP / 2 / SAMPLE_RATE)
            phase, last, was_voiced = end - end.floor(), held, voiced
        after = SynthesisState(
            phase=phase,
            pitch=last,
            voiced=was_voiced,
            pulses=state.pulses,
            noise=state.noise,
            tail=state.tail,
        )
        return torch.cat(parts, dim=1), after

    def _overlap_add(self, blocks: Tensor, tail: Tensor) -> Tensor:
        """blocks (B, n, 512) a sub-hop apart, on top of what still sounds (B, 412)."""
        count = SUBFRAMES * self.hops
        total = (count - 1) * SUBHOP + N_FFT
        summed = F.pad(tail, (0, total - TAIL))
        for index in range(count):
            start = index * SUBHOP
            summed = summed + F.pad(blocks[:, index], (start, total - start - N_FFT))
        return summed
