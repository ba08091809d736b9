"""Weights in 8 bits: whole numbers from -127 to 127, and for each row what 1 means.

Everything still computes in float32, on every CPU alike: what is saved is reading the weights,
which a step of one stream waits for. The scale of a row is told by its largest weight, so that a
matrix that was rounded is known by its numbers alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

LARGEST = 127
SCALE_BITS = 16
"""Significant bits of a scale: with the 7 of a weight no more than float32 has, so that products of
both are exact."""
ALL = ("",)
"""The name that the names of all parts begin with."""
EXCEPT = ("content_quantizer", "detail_quantizer")
"""Parts whose weights stay: they are small, and decide between words."""


@dataclass(frozen=True)
class Bytes:
    """A matrix ``whole`` (n, inner) int8, times ``scale`` (n,)."""

    whole: Tensor
    scale: Tensor

    @property
    def values(self) -> Tensor:
        """The matrix (n, inner), float32."""
        return self.whole.float() * self.scale.unsqueeze(1)


def rounded(matrix: Tensor) -> Bytes:
    """The nearest that 8 bits can say of a matrix (n, inner)."""
    scale = _significant(matrix.detach().float().abs().amax(1) / LARGEST)
    return Bytes(_whole(matrix, scale), scale)


def in_bytes(matrix: Tensor) -> Bytes | None:
    """A matrix (n, inner) in 8 bits; None where that does not say it exactly."""
    found = rounded(matrix)
    return found if torch.equal(found.values, matrix.detach().float()) else None


def linear_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model that 8 bits are meant for, by their names."""
    return {
        f"{name}.weight": part.weight
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and not name.startswith(EXCEPT)
    }


@torch.no_grad()
def round_weights(model: nn.Module, parts: tuple[str, ...] = ALL) -> None:
    """Rounds the weights of a model's parts, by their names, to 8 bits; those that are so stay as
    they are."""
    for name, weight in linear_weights(model).items():
        if name.startswith(parts):
            weight.copy_(rounded(weight).values)


def _whole(matrix: Tensor, scale: Tensor) -> Tensor:
    steps = matrix.detach().float() / scale.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
    return steps.round().to(torch.int8)


def _significant(values: Tensor) -> Tensor:
    """Positive numbers, rounded to :data:`SCALE_BITS` significant bits."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2.0**SCALE_BITS).round(), exponent - SCALE_BITS)
