"""Source-filter synthesis with explicit state: pulses and noise, shaped per frame, overlap-added.

A frame has two sub-frames, each a filter for a window of 200 samples: frame t's are centred on
samples 200 t - 100 and 200 t, and complete the hop that ends at 200 t: one hop of delay. Filters
are minimum-phase with a learned correction, so their response only reaches forward in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from facodec.bundled.features import mel_frequencies
from facodec.config import HOP, SAMPLE_RATE

SUBFRAMES = 2
"""Filters per frame: one per 12.5 ms is too slow for plosives and onsets."""
SUBHOP = HOP // SUBFRAMES
WINDOW = 2 * SUBHOP
N_FFT = 512
BINS = N_FFT // 2 + 1
TAIL = N_FFT - SUBHOP
"""Samples of a frame's response that reach past the hop it completes."""
NOISE_FRAMES = 2048
REST_PITCH = 120.0
"""Hz, the pulse rate before the first voiced frame."""
TOP_HARMONIC = 7_900.0


@dataclass(frozen=True)
class SynthesisState:
    """State of the synthesis. Tensors are batch first.

    phase (B,) float64 cycles; pitch (B,) float64 Hz, the last voiced one; voiced (B,) bool;
    pulses (B, 100) the newest excitation; noise (B,) int64 position in the noise table;
    tail (B, 412) responses still sounding.
    """

    phase: Tensor
    pitch: Tensor
    voiced: Tensor
    pulses: Tensor
    noise: Tensor
    tail: Tensor


def band_interpolation(bands: int) -> Tensor:
    """Matrix (bands, BINS): linear interpolation from mel-spaced bands to STFT bins."""
    bins = mel_frequencies(torch.linspace(0.0, SAMPLE_RATE / 2, BINS))
    position = bins / bins[-1] * (bands - 1)
    centres = torch.arange(bands, dtype=torch.float32).unsqueeze(1)
    return (1.0 - (position - centres).abs()).clamp_min(0.0)


def minimum_phase(log_magnitude: Tensor) -> Tensor:
    """Phase in radians of the minimum-phase filter with this natural-log magnitude (..., BINS).

    The complex cepstrum of such a filter is causal (Oppenheim & Schafer, sec. 13.3), so folding
    the real cepstrum forward gives the phase. Linear in the input.
    """
    cepstrum = torch.fft.irfft(log_magnitude, N_FFT)
    fold = torch.zeros(N_FFT, dtype=log_magnitude.dtype)
    fold[0] = fold[N_FFT // 2] = 1.0
    fold[1 : N_FFT // 2] = 2.0
    phase: Tensor = torch.fft.rfft(cepstrum * fold).imag
    return phase


def noise_table(seed: int = 20_240_305) -> Tensor:
    """STFT frames (NOISE_FRAMES, BINS) of one endless loop of unit white noise."""
    samples = np.random.Generator(np.random.PCG64(seed)).standard_normal(NOISE_FRAMES * SUBHOP)
    looped = torch.from_numpy(np.concatenate((samples, samples[:SUBHOP]))).float()
    windowed = looped.unfold(0, WINDOW, SUBHOP) * torch.hann_window(WINDOW)
    frames: Tensor = torch.fft.rfft(windowed, N_FFT)
    return frames


class Synthesizer(nn.Module):
    """Envelopes in ``bands`` mel-spaced bands and pitch in, audio out."""

    def __init__(self, bands: int, phase_bands: int) -> None:
        super().__init__()
        interpolation = band_interpolation(bands)
        ramp = torch.arange(HOP, dtype=torch.float64) + 1.0
        for name, value in {
            "log_gain": interpolation,
            "phase_of_gain": minimum_phase(interpolation.double()).float(),
            "phase_correction": band_interpolation(phase_bands),
            "noise_frames": noise_table(),
            "window": torch.hann_window(WINDOW),
            "ramp": ramp,
        }.items():
            self.register_buffer(name, value, persistent=False)

    log_gain: Tensor
    phase_of_gain: Tensor
    phase_correction: Tensor
    noise_frames: Tensor
    window: Tensor
    ramp: Tensor

    def initial_state(self, batch: int, seed: int) -> SynthesisState:
        zeros = self.window.new_zeros(batch, dtype=torch.float64)
        start = np.random.Generator(np.random.PCG64(seed)).integers(NOISE_FRAMES)
        return SynthesisState(
            phase=zeros,
            pitch=zeros + REST_PITCH,
            voiced=zeros > 0,
            pulses=self.window.new_zeros(batch, SUBHOP),
            noise=zeros.long() + int(start),
            tail=self.window.new_zeros(batch, TAIL),
        )

    def forward(
        self,
        pitch: Tensor,
        harmonic: Tensor,
        noise: Tensor,
        correction: Tensor,
        state: SynthesisState,
    ) -> tuple[Tensor, SynthesisState]:
        """One hop of audio per frame; the first is the hop *before* the first frame.

        pitch (B, T) Hz, 0 where unvoiced; per sub-frame, harmonic, noise (B, 2 T, bands)
        natural-log gains and correction (B, 2 T, phase_bands) radians -> audio (B, 200 T) and the
        state after it.
        """
        pulses, state = self.pulses(pitch.double(), state)
        windows = torch.cat((state.pulses, pulses), dim=1).unfold(1, WINDOW, SUBHOP)
        spectrum = torch.fft.rfft(windows * self.window, N_FFT)
        spectrum = spectrum * self._filter(harmonic, correction)
        steps = torch.arange(harmonic.shape[1], device=pitch.device)
        index = (state.noise.unsqueeze(1) + steps) % NOISE_FRAMES
        spectrum = spectrum + self.noise_frames[index] * self._filter(noise, None)
        audio, tail = self._overlap_add(torch.fft.irfft(spectrum, N_FFT), state.tail)
        after = SynthesisState(
            phase=state.phase,
            pitch=state.pitch,
            voiced=state.voiced,
            pulses=pulses[:, -SUBHOP:],
            noise=(state.noise + harmonic.shape[1]) % NOISE_FRAMES,
            tail=tail,
        )
        return audio, after

    def gone_by(self, pitch: Tensor, state: SynthesisState) -> SynthesisState:
        """The state after frames of pitch (B, T) Hz, 0 where unvoiced, that nobody heard: phase and
        noise are where they would be, what still sounds of those frames is missing."""
        before, held = _glides(pitch.double(), state)
        cycles = (before + held) * (HOP / 2 / SAMPLE_RATE)
        return replace(
            state,
            phase=(state.phase + cycles.sum(1)) % 1.0,
            pitch=held[:, -1].clone(),
            voiced=pitch[:, -1] > 0,
            noise=(state.noise + SUBFRAMES * pitch.shape[1]) % NOISE_FRAMES,
        )

    def _filter(self, log_bands: Tensor, correction: Tensor | None) -> Tensor:
        phase = log_bands @ self.phase_of_gain
        if correction is not None:
            phase = phase + correction @ self.phase_correction
        return torch.polar(torch.exp(log_bands @ self.log_gain), phase)

    def pulses(self, pitch: Tensor, state: SynthesisState) -> tuple[Tensor, SynthesisState]:
        """Band-limited pulse train (B, 200 T) of unit power; pitch glides over each hop."""
        voiced = pitch > 0
        before, held = _glides(pitch, state)
        cycles = (before + held) * (HOP / 2 / SAMPLE_RATE)
        ends = state.phase.unsqueeze(1) + cycles.cumsum(1)
        slope = (held - before).unsqueeze(2) / (2 * HOP)
        rise = (before.unsqueeze(2) + slope * self.ramp) * self.ramp / SAMPLE_RATE
        phase = ((ends - cycles).unsqueeze(2) + rise) % 1.0
        harmonics = (TOP_HARMONIC / torch.maximum(before, held)).floor().unsqueeze(2)
        pulses = dirichlet(phase.float(), harmonics.float()).flatten(1)
        after = SynthesisState(
            phase=ends[:, -1] % 1.0,
            pitch=held[:, -1],
            voiced=voiced[:, -1],
            pulses=state.pulses,
            noise=state.noise,
            tail=state.tail,
        )
        return pulses, after

    def _overlap_add(self, blocks: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """blocks (B, n, N_FFT) placed a sub-hop apart, on top of what still sounds."""
        batch, count, _ = blocks.shape
        total = (count - 1) * SUBHOP + N_FFT
        folded = nn.functional.fold(
            blocks.transpose(1, 2), (1, total), kernel_size=(1, N_FFT), stride=(1, SUBHOP)
        )
        summed = folded.view(batch, total) + nn.functional.pad(tail, (0, total - TAIL))
        return summed[:, : count * SUBHOP], summed[:, count * SUBHOP :]


def _glides(pitch: Tensor, state: SynthesisState) -> tuple[Tensor, Tensor]:
    """Pitch (B, T) -> the pitch that each hop begins and ends with, held where unvoiced."""
    held = _hold_last(pitch, state.pitch)
    before = torch.cat((state.pitch.unsqueeze(1), held[:, :-1]), dim=1)
    was_voiced = torch.cat((state.voiced.unsqueeze(1), pitch[:, :-1] > 0), dim=1)
    return torch.where(was_voiced, before, held), held  # a new voiced stretch starts at its pitch


def _hold_last(pitch: Tensor, before: Tensor) -> Tensor:
    """Replace zeros in pitch (B, T) by the last non-zero value, ``before`` (B,) to begin with."""
    series = torch.cat((before.unsqueeze(1), pitch), dim=1)
    index = torch.arange(series.shape[1], device=pitch.device).expand_as(series)
    last = torch.where(series > 0, index, torch.zeros_like(index)).cummax(dim=1).values
    return series.gather(1, last)[:, 1:]


def dirichlet(phase: Tensor, harmonics: Tensor) -> Tensor:
    """sum_{k=1..K} cos(2 pi k phase), scaled to unit power, by Dirichlet's closed form."""
    half = torch.sin(math.pi * phase)
    safe = torch.where(half.abs() < 1e-4, torch.ones_like(half), half)
    ratio = torch.sin((2 * harmonics + 1) * math.pi * phase) / (2 * safe)
    total = torch.where(half.abs() < 1e-4, harmonics, ratio - 0.5)
    return total * torch.sqrt(2.0 / harmonics)
