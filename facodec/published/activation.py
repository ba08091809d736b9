"""The anti-aliased Snake of the published model, as a streaming layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.published.layers import Layer, Window


@lru_cache(maxsize=1)
def resampling_filter() -> tuple[float, ...]:
    """The 12 taps of the low pass around the activation: a Kaiser-windowed sinc of cutoff 0.25
    and half-width 0.3 (in cycles per sample of the doubled rate), normalised to sum 1.

    Source: alias-free activations of BigVGAN (Lee et al. 2023); Kaiser's formulas for beta.
    """
    size, cutoff, half_width = 12, 0.25, 0.3
    attenuation = 2.285 * (size // 2 - 1) * math.pi * 4 * half_width + 7.95
    beta = 0.0
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation >= 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    window = torch.kaiser_window(size, periodic=False, beta=beta, dtype=torch.float64)
    time = torch.arange(size, dtype=torch.float64) - size / 2 + 0.5
    taps = window * 2 * cutoff * torch.sinc(2 * cutoff * time)
    return tuple((taps / taps.sum()).tolist())


@dataclass(frozen=True)
class Fir:
    """A bank of short filters over time, the same for every channel: each window of the input
    gives ``len(taps)`` output samples."""

    taps: tuple[tuple[float, ...], ...]
    window: Window

    @staticmethod
    def block(count: int) -> int:
        """Windows per product where ``count`` are to be done."""
        return min(BLOCK, count)

    def apply(self, samples: Tensor, count: int) -> Tensor:
        """samples (B, L, C), whole windows in them -> (B, count * len(taps), C).

        ``BLOCK`` windows at a time are one product with a small banded matrix: many more
        multiplications than the filter needs, and still several times faster than ``conv1d``.
        """
        batch, length, channels = samples.shape
        outputs = count * len(self.taps)
        if not count:
            return samples.new_zeros(batch, 0, channels)
        block = self.block(count)
        blocks = -(-count // block)
        matrix = banded(self, block, samples.dtype, samples.device)
        advance = block * self.window.stride
        missing = (blocks - 1) * advance + matrix.shape[1] - length
        if missing > 0:
            samples = F.pad(samples, (0, 0, 0, missing))
        windows = samples.unfold(1, matrix.shape[1], advance)[:, :blocks].transpose(2, 3)
        windows = windows.reshape(batch * blocks, matrix.shape[1], channels)
        filtered = torch.bmm(matrix.expand(batch * blocks, -1, -1), windows)
        return filtered.view(batch, -1, channels)[:, :outputs]


BLOCK = 10
"""Windows per product in :class:`Fir`; the fastest of those measured, and a divisor of the
sample counts of most layers."""


@lru_cache(maxsize=64)
def banded(fir: Fir, block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The taps of ``fir`` repeated along a diagonal: (block * outputs, samples they span)."""
    outputs, stride, size = len(fir.taps), fir.window.stride, fir.window.size
    with torch.inference_mode(False):
        matrix = torch.zeros(block, outputs, (block - 1) * stride + size, dtype=torch.float64)
        taps = torch.tensor(fir.taps, dtype=torch.float64)
        for step in range(block):
            matrix[step, :, step * stride : step * stride + size] = taps
        return matrix.flatten(0, 1).to(device, dtype)


_LOWPASS = resampling_filter()
_EVEN_TAPS = tuple(2 * tap for tap in reversed(_LOWPASS[0::2]))
_ODD_TAPS = tuple(2 * tap for tap in reversed(_LOWPASS[1::2]))
# From x[q-3 .. q+2]: the samples 2q-1 and 2q of the doubled rate, which need the same inputs.
DOUBLE = Fir((_EVEN_TAPS, _ODD_TAPS), Window(6, 1, left=3, right=3, replicate=True))
# From v[2q-5 .. 2q+6] of the doubled rate: the sample q.
HALVE = Fir((_LOWPASS,), Window(12, 2, left=5, right=6, replicate=True))


SETTLED = HALVE.window.size - HALVE.window.stride
"""Samples of the doubled rate that wait from step to step once a stream has started."""


class SnakeBeta(nn.Module):
    """``x + sin(x e^alpha)^2 / (e^beta + 1e-9)``, alpha and beta per channel.

    Source: Ziyin et al. 2020, with the separate magnitude of BigVGAN.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., C) -> the same shape."""
        wave = torch.sin(x * self.alpha.exp()) * (self.beta.exp() + 1e-9).rsqrt()
        return torch.addcmul(x, wave, wave)


@dataclass(frozen=True)
class ActivationState:
    """``samples`` (B, n, C): input the doubling filter still needs, empty before the first.
    ``doubled`` (B, m, C): activated samples of the doubled rate the halving filter still needs."""

    samples: Tensor
    doubled: Tensor


Fused = Callable[[Tensor, ActivationState], tuple[Tensor, ActivationState]]


class Activation(Layer):
    """The anti-aliased Snake: double the rate, activate, halve the rate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)
        self.fused: Fused | None = None
        """Does a step in the middle of a stream in place of PyTorch: see
        facodec.published.precisions."""

    @property
    def lookahead(self) -> Fraction:
        # Doubling gives its samples in pairs of which the second is the one that belongs to the
        # newest input: it is one more behind.
        doubled = 2 * DOUBLE.window.lookahead + 1 + HALVE.window.lookahead
        return Fraction(doubled, 2)

    def initial_state(self, batch: int) -> ActivationState:
        alpha = self.act.alpha
        channels = alpha.shape[0]
        return ActivationState(
            DOUBLE.window.start(batch, channels, alpha), HALVE.window.start(batch, channels, alpha)
        )

    def step(self, x: Tensor, state: ActivationState) -> tuple[Tensor, ActivationState]:
        if self.fused is not None and state.doubled.shape[1] == SETTLED:
            return self.fused(x, state)
        samples, count, pending = DOUBLE.window.push(state.samples, x)
        doubled = self._activate(samples, count, first=self._starts(state))
        doubled, halved, rest = HALVE.window.push(state.doubled, doubled)
        return HALVE.apply(doubled, halved), ActivationState(pending, rest)

    def finish(self, x: Tensor, state: ActivationState) -> Tensor:
        samples, count = DOUBLE.window.close(state.samples, x)
        doubled = self._activate(samples, count, first=self._starts(state))[:, :-1]
        return HALVE.apply(*HALVE.window.close(state.doubled, doubled))

    @staticmethod
    def _starts(state: ActivationState) -> bool:
        return not state.doubled.shape[1]

    def _activate(self, samples: Tensor, count: int, first: bool) -> Tensor:
        """The next activated samples of the doubled rate. The ``first`` pair begins with sample
        -1 and the last ends with one past the end; neither belongs to the signal."""
        doubled: Tensor = self.act(DOUBLE.apply(samples, count))
        return doubled[:, 1:] if first else doubled
