"""Causal building blocks of the bundled model, channels last, each with a pure step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 7
CONTEXT = KERNEL - 1
"""Frames of the past a block keeps."""


class CausalBlock(nn.Module):
    """ConvNeXt block (Liu et al. 2022) over time: depthwise convolution of the present and six
    past frames, LayerNorm, two pointwise layers, small learned scale on the residual branch."""

    def __init__(self, width: int, expansion: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Parameter(torch.randn(KERNEL, width) / KERNEL**0.5)
        self.depthwise_bias = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.project = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(
        self, x: Tensor, past: Tensor, condition: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """x (B, T, width), past (B, 6, width) -> y (B, T, width) and the past of what follows.

        ``condition``: gain and bias (B, T or 1, width) applied after the norm.
        """
        padded = torch.cat((past, x), dim=1)
        y = self.norm(self._filter(padded, x.shape[1]))
        if condition is not None:
            gain, bias = condition
            y = y * (1.0 + gain) + bias
        y = self.project(F.gelu(self.expand(y), approximate="tanh"))
        return x + self.scale * y, padded[:, -CONTEXT:]

    def _filter(self, padded: Tensor, length: int) -> Tensor:
        if length == 1:  # one hop: a weighted sum beats a convolution call
            return (padded * self.depthwise).sum(1, keepdim=True) + self.depthwise_bias
        kernel = self.depthwise.t().unsqueeze(1)
        y = F.conv1d(padded.transpose(1, 2), kernel, self.depthwise_bias, groups=kernel.shape[0])
        return y.transpose(1, 2)


class CausalStack(nn.Module):
    """Input projection and a chain of :class:`CausalBlock`; its state is one tensor per block."""

    def __init__(self, in_dim: int, width: int, blocks: int) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Linear(in_dim, width)
        self.blocks = nn.ModuleList(CausalBlock(width) for _ in range(blocks))

    def initial_state(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        return tuple(like.new_zeros(batch, CONTEXT, self.width) for _ in self.blocks)

    def forward(
        self,
        x: Tensor,
        pasts: tuple[Tensor, ...],
        conditions: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x (B, T, in_dim) -> (B, T, width) and the state after it."""
        x = self.enter(x)
        after = []
        for i, block in enumerate(self.blocks):
            x, past = block(x, pasts[i], conditions[i] if conditions else None)
            after.append(past)
        return x, tuple(after)
