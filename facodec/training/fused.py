"""The live model's networks and synthesis as training runs them: whole crops at once, from no past,
written so that a compiler fuses what lies between the products.

The values are those of :mod:`facodec.bundled.network` and :mod:`facodec.bundled.synthesis`, but for
rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from facodec.bundled import prosody
from facodec.bundled.causal import CONTEXT, KERNEL, CausalBlock, CausalStack
from facodec.bundled.model import GAIN_CENTRE, GAIN_RANGE, VOICE_DIM, LiveModel, scale_mels
from facodec.bundled.synthesis import N_FFT, NOISE_FRAMES, SUBFRAMES, SUBHOP, WINDOW, Synthesizer
from facodec.config import HOP
from facodec.training.spectra import spectrum

Function = TypeVar("Function", bound=Callable[..., Any])
Condition = tuple[Tensor, Tensor]
REACH = -(-N_FFT // SUBHOP)
"""Sub-hops that a sub-frame's response reaches over."""


def fused(function: Function, on: bool) -> Function:
    """Compile a function for the shapes that it meets, where ``on``; takes a C++ compiler."""
    return torch.compile(function, dynamic=False) if on else function  # type: ignore[return-value]


def gelu(x: Tensor) -> Tensor:
    """GELU by tanh, as a sigmoid: exponentials are cheaper than hyperbolic tangents."""
    return x * torch.sigmoid(2.0 * math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x))


def block(layer: CausalBlock, x: Tensor, condition: Condition | None = None) -> Tensor:
    """x (B, T, width) -> what :class:`CausalBlock` makes of it from a past of zeros."""
    padded, length = F.pad(x, (0, 0, CONTEXT, 0)), x.shape[1]
    y: Tensor = layer.depthwise_bias
    for tap in range(KERNEL):
        y = y + padded[:, tap : tap + length] * layer.depthwise[tap]
    y = F.layer_norm(y, y.shape[-1:], layer.norm.weight, layer.norm.bias)
    if condition is not None:
        y = y * (1.0 + condition[0]) + condition[1]
    out: Tensor = x + layer.scale * layer.project(gelu(layer.expand(y)))
    return out


def stack(layers: CausalStack, x: Tensor) -> Tensor:
    """x (B, T, in_dim) -> (B, T, width)."""
    x = layers.enter(x)
    for layer in layers.blocks:
        x = block(layer, x)  # type: ignore[arg-type]
    return x


def content_latent(model: LiveModel, mels: Tensor) -> Tensor:
    """log-mels (B, T, 80) -> what is said (B, T, width)."""
    return stack(model.content, scale_mels(mels) @ model.lifter).float()


def timbre_frames(model: LiveModel, mels: Tensor) -> Tensor:
    """log-mels (B, T, 80) -> what the timbre is made of (B, T, width)."""
    return stack(model.timbre, scale_mels(mels)).float()


def detail_latent(model: LiveModel, mels: Tensor, content: Tensor) -> Tensor:
    """log-mels (B, T, 80) and content words (B, T, width) -> what is left to say (B, T, width)."""
    return stack(model.detail, torch.cat((scale_mels(mels), content), dim=-1)).float()


def envelopes(
    model: LiveModel, codes: Tensor, content: Tensor, detail: Tensor, timbre: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """prosody codes (B, T), words (B, T, width) and timbre (B, 1, 256) -> as
    :meth:`LiveModel.envelopes`, float32."""
    c = model.config
    pitch, level = prosody.split(codes)
    x = model.decoder.enter(torch.cat((content, detail), dim=-1))
    x = x + model.pitch_embedding(pitch) + model.level_embedding(level)
    scaled = torch.cat((timbre[..., :-1] * math.sqrt(VOICE_DIM), timbre[..., -1:]), dim=-1)
    conditions = model.condition(scaled).split(c.decoder_width, dim=-1)
    for i, layer in enumerate(model.decoder.blocks):
        x = block(layer, x, (conditions[2 * i], conditions[2 * i + 1]))  # type: ignore[arg-type]
    predicted = model.head(model.head_norm(x)).float().unflatten(-1, (SUBFRAMES, -1)).flatten(1, 2)
    out = predicted.split((c.bands, c.bands, c.phase_bands), dim=-1)
    harmonic, noise = (GAIN_CENTRE + GAIN_RANGE * torch.tanh(g / GAIN_RANGE) for g in out[:2])
    return harmonic, noise, out[2]


def excitation(
    synthesizer: Synthesizer, pitch: Tensor, first: int, seed: int
) -> tuple[Tensor, Tensor]:
    """pitch (B, T) Hz -> windows of pulses (B, 2 (T - first), 200) and spectra of noise (1,
    2 (T - first), BINS, 2) from the frame ``first`` on."""
    with torch.no_grad():
        before = synthesizer.initial_state(len(pitch), seed)
        pulses, _ = synthesizer.pulses(pitch.double(), before)
        whole = torch.cat((before.pulses, pulses), dim=1)[:, first * HOP :]
        windows = whole.unfold(1, WINDOW, SUBHOP) * synthesizer.window
        index = (before.noise[:1, None] + torch.arange(windows.shape[1]).to(pitch.device)) % (
            NOISE_FRAMES
        )
        return windows, torch.view_as_real(synthesizer.noise_frames[index])


def synthesize(
    synthesizer: Synthesizer,
    harmonic: Tensor,
    noise: Tensor,
    correction: Tensor,
    windows: Tensor,
    noises: Tensor,
) -> Tensor:
    """Envelopes as :class:`Synthesizer` takes them (B, n, bands), excited by windows of pulses
    (B, n, 200) and spectra of noise (1, n, BINS, 2) -> audio (B, 100 n)."""
    phase = harmonic @ synthesizer.phase_of_gain + correction @ synthesizer.phase_correction
    voiced = _filtered(spectrum(windows, N_FFT), harmonic @ synthesizer.log_gain, phase)
    hissed = _filtered(noises, noise @ synthesizer.log_gain, noise @ synthesizer.phase_of_gain)
    both = torch.view_as_complex((voiced + hissed).contiguous())
    responses = torch.fft.irfft(both, N_FFT)
    parts = F.pad(responses, (0, REACH * SUBHOP - N_FFT)).unflatten(-1, (REACH, SUBHOP))
    parts, count = F.pad(parts, (0, 0, 0, 0, REACH - 1, 0)), parts.shape[1]
    audio = parts[:, REACH - 1 :, 0]
    for late in range(1, REACH):
        audio = audio + parts[:, REACH - 1 - late : REACH - 1 - late + count, late]
    return audio.flatten(1)


def _filtered(spectra: Tensor, log_gain: Tensor, phase: Tensor) -> Tensor:
    """Spectra (..., BINS, 2), real and imaginary, through a filter of so much gain and phase."""
    gain, (real, imaginary) = torch.exp(log_gain), spectra.unbind(-1)
    a, b = gain * torch.cos(phase), gain * torch.sin(phase)
    return torch.stack((real * a - imaginary * b, real * b + imaginary * a), dim=-1)
