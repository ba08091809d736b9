"""The residual unit of the published model, as a streaming layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facodec.published.activation import Activation
from facodec.published.layers import Composite, Conv


@dataclass(frozen=True)
class ResidualState:
    """``block``: state of the layers; ``skip`` (B, n, C): input they have not answered yet."""

    block: tuple[Any, ...]
    skip: Tensor


class ResidualUnit(Composite):
    """Activation, dilated convolution of width 7, activation, convolution of width 1, plus the
    input, which waits until the layers answer."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__(
            [
                Activation(channels),
                Conv(channels, channels, 7, dilation=dilation, padding=3 * dilation),
                Activation(channels),
                Conv(channels, channels, 1),
            ]
        )
        self.channels = channels

    def initial_state(self, batch: int) -> ResidualState:
        skip = next(self.parameters()).new_zeros(batch, 0, self.channels)
        return ResidualState(self.block.initial_state(batch), skip)

    def step(self, x: Tensor, state: ResidualState) -> tuple[Tensor, ResidualState]:
        y, block = self.block.step(x, state.block)
        waiting = torch.cat((state.skip, x), dim=1)
        answered = y.shape[1]
        return y + waiting[:, :answered], ResidualState(block, waiting[:, answered:])

    def finish(self, x: Tensor, state: ResidualState) -> Tensor:
        return self.block.finish(x, state.block) + torch.cat((state.skip, x), dim=1)
