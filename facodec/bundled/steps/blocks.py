"""The bundled model's blocks for one frame a call, with everything constant worked out before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facodec.bundled.causal import CausalBlock, CausalStack
from facodec.bundled.steps.products import Product, Shelf

Condition = tuple[Tensor, Tensor]
"""Gain and bias (B, width) after the norm."""


def matrix(linear: nn.Linear) -> Tensor:
    """The weight as (in, out), float64: what rows of values are multiplied with."""
    return linear.weight.detach().double().t()


def constant(value: Tensor) -> Tensor:
    """A folded constant as it is used: float32, in one piece."""
    return value.detach().float().contiguous()


@dataclass(frozen=True)
class FastBlock:
    """A :class:`CausalBlock` that takes and gives ``x`` without the constants that the blocks
    before it would have added: ``offset`` (width,) is their sum.

    ``past_filter`` (6, width), ``last`` (width,) and ``bias`` (width,): the depthwise filter;
    ``expand`` (width, 3 width) and ``project`` (3 width, width), the residual scale in it, which
    is also there by itself: ``scale`` (width,), ``unscaled``.
    """

    past_filter: Tensor
    last: Tensor
    bias: Tensor
    norm: nn.LayerNorm
    expand: Product
    project: Product
    offset: Tensor
    scale: Tensor
    unscaled: Tensor

    def __call__(self, x: Tensor, filtered: Tensor, condition: Condition | None = None) -> Tensor:
        """x, filtered (B, width) -> (B, width). ``filtered``: x and its past after the filter."""
        norm = self.norm
        y = torch.layer_norm(filtered, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        if condition is not None:
            y = torch.addcmul(condition[1], y, condition[0])
        return self.project.onto(self.expand.then_gelu(y), x)


@dataclass(frozen=True)
class FastStack:
    """The blocks of a :class:`CausalStack`; ``offset`` is what its output still lacks."""

    blocks: list[FastBlock]
    offset: Tensor

    @classmethod
    def of(cls, stack: CausalStack, shelf: Shelf) -> FastStack:
        offset = torch.zeros(stack.width, dtype=torch.float64, device=stack.enter.weight.device)
        blocks = []
        for block in stack.blocks:
            assert isinstance(block, CausalBlock)
            blocks.append(_fold(block, offset, shelf))
            offset = offset + block.scale.detach().double() * block.project.bias.detach().double()
        return cls(blocks, constant(offset))

    def run(
        self,
        x: Tensor,
        filtered: Tensor,
        pasts: tuple[Tensor, ...],
        conditions: list[Condition] | None = None,
    ) -> list[Tensor]:
        """Runs all blocks and returns the output of each, (B, width).

        x (B, width) goes into the first block, ``filtered`` is it after that block's filter;
        ``pasts``: what the pasts of the other blocks contribute to their filters, bias included.
        """
        outputs: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            if i:
                filtered = torch.addcmul(pasts[i - 1], x, block.last)
            x = block(x, filtered, conditions[i] if conditions else None)
            outputs.append(x)
        return outputs


def _fold(block: CausalBlock, offset: Tensor, shelf: Shelf) -> FastBlock:
    filters = block.depthwise.detach().double()
    scale = block.scale.detach().double()
    return FastBlock(
        past_filter=constant(filters[:-1]),
        last=constant(filters[-1]),
        bias=constant(block.depthwise_bias.detach().double() + filters[-1] * offset),
        norm=block.norm,
        expand=shelf.product(matrix(block.expand), block.expand.bias),
        project=shelf.product(matrix(block.project) * scale),
        offset=constant(offset),
        scale=constant(scale),
        unscaled=block.project.weight.detach().t(),
    )


@dataclass(frozen=True)
class Kept:
    """The blocks whose past is kept, one after the other along the last dimension."""

    widths: list[int]
    past_filter: tuple[Tensor, ...]
    bias: Tensor
    offset: Tensor

    @classmethod
    def of(cls, blocks: list[FastBlock]) -> Kept:
        return cls(
            widths=[len(block.last) for block in blocks],
            past_filter=torch.cat([block.past_filter for block in blocks], dim=1).unbind(0),
            bias=torch.cat([block.bias for block in blocks]),
            offset=torch.cat([block.offset for block in blocks]),
        )

    def contributions(self, past: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Contributions of the past, six frames (B, widths), to each block's filter, bias included:
        (B, width) each."""
        total = torch.addcmul(self.bias, past[0], self.past_filter[0])
        for frame, weight in zip(past[1:], self.past_filter[1:], strict=True):
            total.addcmul_(frame, weight)
        shares: tuple[Tensor, ...] = total.split(self.widths, dim=1)
        return shares

    def newest(self, inputs: list[Tensor]) -> Tensor:
        """The blocks' inputs (B, width) as they are kept: a frame (B, widths)."""
        return torch.cat(inputs, dim=1).add_(self.offset)
