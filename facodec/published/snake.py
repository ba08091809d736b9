"""The fused Snake in C, where it can be compiled."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from facodec.native import compiled
from facodec.published.activation import DOUBLE, HALVE, Activation, ActivationState, Fused

LANES = 16
"""Channels come in multiples of this."""


def fused(layer: Activation) -> Fused | None:
    """A faster :meth:`Activation.step` of ``layer`` for streams past their start, with the
    parameters it has now; None where it cannot be had."""
    library, channels = compiled.library(compiled.SOURCES), layer.act.alpha.shape[0]
    if library is None or channels % LANES:
        return None
    snake_step = library.facodec_snake_step
    snake_step.argtypes = [ctypes.c_void_p] * 10 + [ctypes.c_int64] * 3
    snake_step.restype = None
    with torch.no_grad():
        up, down = (torch.tensor(fir.taps) for fir in (DOUBLE, HALVE))
        frequency = layer.act.alpha.exp()
        magnitude = 1.0 / (layer.act.beta.exp() + 1e-9)
    constants = (up, down, frequency, magnitude)  # kept alive by the closure
    addresses = tuple(tensor.data_ptr() for tensor in constants)

    def step(
        x: Tensor, state: ActivationState, _constants: object = constants
    ) -> tuple[Tensor, ActivationState]:
        x, kept, doubled = x.contiguous(), state.samples.contiguous(), state.doubled.contiguous()
        rows, count, _ = x.shape
        if not rows == len(kept) == len(doubled):
            raise ValueError(f"expected {len(kept)} rows, as many as the state has, got {rows}")
        out, kept_next = torch.empty_like(x), torch.empty_like(kept)
        doubled_next = torch.empty_like(doubled)
        snake_step(
            x.data_ptr(),
            kept.data_ptr(),
            doubled.data_ptr(),
            *addresses,
            out.data_ptr(),
            kept_next.data_ptr(),
            doubled_next.data_ptr(),
            rows,
            count,
            channels,
        )
        return out, ActivationState(kept_next, doubled_next)

    return step
