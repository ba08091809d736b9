"""Spectra of real signals with a gradient that costs no more than they do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Spectrum(torch.autograd.Function):
    """PyTorch's own gradient of ``rfft`` is a complex transform of the whole length: four times the
    work of the inverse real one that does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.given, ctx.size = x.shape[-1], size
        return torch.view_as_real(torch.fft.rfft(x, size))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        # Of the inverse transform each bin but the first and the last stands for two.
        share = gradient.new_full((gradient.shape[-2], 1), 0.5 * ctx.size)
        share[0], share[-1] = ctx.size, ctx.size
        scaled = torch.view_as_complex((gradient * share).contiguous())
        return torch.fft.irfft(scaled, ctx.size)[..., : ctx.given], None


def spectrum(x: Tensor, size: int | None = None) -> Tensor:
    """Signals (..., n), zeros up to an even ``size`` -> (..., size / 2 + 1, 2), real and imaginary
    parts of their discrete Fourier transform."""
    result: Tensor = _Spectrum.apply(x, size or x.shape[-1])  # type: ignore[no-untyped-call]
    return result


def frames(x: Tensor, size: int) -> Tensor:
    """Windows (B, n, size) of signals (B, N), a quarter of ``size`` apart, centred on multiples of
    that; the ends are reflected."""
    hop = size // 4
    padded = torch.nn.functional.pad(x, (size // 2, size // 2), mode="reflect")
    blocks = padded[:, : padded.shape[1] // hop * hop].unflatten(1, (-1, hop))
    count = blocks.shape[1] - 3
    return torch.cat([blocks[:, i : i + count] for i in range(4)], dim=-1)
