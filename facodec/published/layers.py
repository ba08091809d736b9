"""Streaming layers: what they share, chains of them, and convolutions.

Signals are channels last, (B, T, C). A layer is a function with a memory: ``step(x, state)``
takes the next samples and gives all outputs that no longer depend on the future; ``finish(x,
state)`` takes the last samples, applies the right padding and gives the rest. The offline
``forward(x)`` *is* ``finish`` from the initial state, so there is one definition of padding, and
outputs joined over any chunking are those of ``forward``.

States are frozen dataclasses; a step builds a new one and never changes its input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Window:
    """Way that a layer slides over its input: ``size`` samples at a time, ``stride`` apart, with
    ``left`` and ``right`` samples of padding, zeros or (``replicate``) the edge sample."""

    size: int
    stride: int
    left: int
    right: int
    replicate: bool = False

    @property
    def lookahead(self) -> int:
        """Samples needed past the ``stride`` samples that belong to an output."""
        return self.size - self.stride - self.left

    def start(self, batch: int, channels: int, like: Tensor) -> Tensor:
        """The pending samples before any input: the left padding, where it is known already."""
        return like.new_zeros(batch, 0 if self.replicate else self.left, channels)

    def push(self, pending: Tensor, x: Tensor) -> tuple[Tensor, int, Tensor]:
        """Append x (B, T, C) -> the samples to slide over, the number of whole windows in them,
        and what stays pending."""
        if self.replicate and not pending.shape[1] and x.shape[1]:
            pending = x[:, :1].expand(-1, self.left, -1)
        samples = torch.cat((pending, x), dim=1)
        count = max(0, (samples.shape[1] - self.size) // self.stride + 1)
        return samples, count, samples[:, count * self.stride :]

    def close(self, pending: Tensor, x: Tensor) -> tuple[Tensor, int]:
        """Append the last input x (B, T, C) and the right padding -> samples, windows."""
        samples, _, _ = self.push(pending, x)
        if self.replicate:
            padding = samples[:, -1:].expand(-1, self.right if samples.shape[1] else 0, -1)
        else:
            padding = samples.new_zeros(samples.shape[0], self.right, samples.shape[2])
        samples, count, _ = self.push(samples, padding)
        return samples, count


class Layer(nn.Module):
    """Base of all streaming layers, see the module's text for the law they keep."""

    @property
    def rate(self) -> Fraction:
        """Output samples per input sample."""
        return Fraction(1)

    @property
    def lookahead(self) -> Fraction:
        """Number of input samples past the ones that belong to an output it has to wait for."""
        raise NotImplementedError

    def initial_state(self, batch: int) -> Any:
        """State of ``batch`` streams that have had no input."""
        raise NotImplementedError

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """x (B, T, C) -> y (B, T', C') and the next state; T may be 0."""
        raise NotImplementedError

    def finish(self, x: Tensor, state: Any) -> Tensor:
        """The last input x (B, T, C), T may be 0 -> all outputs still owed (B, T', C')."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The whole signal x (B, T, C) -> (B, T rate, C')."""
        return self.finish(x, self.initial_state(x.shape[0]))


class Chain(Layer):
    """Layers one after the other; children are named "0", "1", ... as in the checkpoints."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            self.add_module(str(index), layer)

    @property
    def layers(self) -> list[Layer]:
        return list(self._modules.values())  # type: ignore[arg-type]

    @property
    def rate(self) -> Fraction:
        return math.prod((layer.rate for layer in self.layers), start=Fraction(1))

    @property
    def lookahead(self) -> Fraction:
        total, rate = Fraction(0), Fraction(1)
        for layer in self.layers:
            total += layer.lookahead / rate
            rate *= layer.rate
        return total

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        return tuple(layer.initial_state(batch) for layer in self.layers)

    def step(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        after = []
        for layer, before in zip(self.layers, state, strict=True):
            x, new = layer.step(x, before)
            after.append(new)
        return x, tuple(after)

    def finish(self, x: Tensor, state: tuple[Any, ...]) -> Tensor:
        for layer, before in zip(self.layers, state, strict=True):
            x = layer.finish(x, before)
        return x


class Composite(Layer):
    """A named part of the model whose work is that of the chain ``block`` inside it."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        super().__init__()
        self.block = Chain(layers)

    @property
    def rate(self) -> Fraction:
        return self.block.rate

    @property
    def lookahead(self) -> Fraction:
        return self.block.lookahead

    def initial_state(self, batch: int) -> Any:
        return self.block.initial_state(batch)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.block.step(x, state)

    def finish(self, x: Tensor, state: Any) -> Tensor:
        return self.block.finish(x, state)


@dataclass(frozen=True)
class ConvState:
    """``pending`` (B, n, C): input samples, padding included, that later outputs still need."""

    pending: Tensor


Product = Callable[[Tensor], Tensor]
"""Rows (n, K) times a fixed matrix (K, N), plus its bias if it has one -> (n, N)."""


class Conv(Layer):
    """Convolution as one matrix product over windows of the input, which at the few samples of
    a hop is about twice as fast as ``conv1d``.

    ``weight`` has the published shape (C_out, C_in, kernel) but lies in memory as the matrix
    (kernel * C_in, C_out) of that product, so that no step has to rearrange it.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__()
        spread = 1 / math.sqrt(channels_in * kernel)
        matrix = torch.randn(kernel, channels_in, channels_out) * spread
        self.weight = nn.Parameter(matrix.permute(2, 1, 0))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.dilation = dilation
        self.window = Window(dilation * (kernel - 1) + 1, stride, padding, padding)
        self.packed: Product | None = None
        """Computes the product in place of ``weight`` and ``bias``: see
        facodec.published.precisions."""

    @property
    def rate(self) -> Fraction:
        return Fraction(1, self.window.stride)

    @property
    def lookahead(self) -> Fraction:
        return Fraction(self.window.lookahead)

    def initial_state(self, batch: int) -> ConvState:
        return ConvState(self.window.start(batch, self.weight.shape[1], self.weight))

    def step(self, x: Tensor, state: ConvState) -> tuple[Tensor, ConvState]:
        samples, count, pending = self.window.push(state.pending, x)
        return self._slide(samples, count), ConvState(pending)

    def finish(self, x: Tensor, state: ConvState) -> Tensor:
        return self._slide(*self.window.close(state.pending, x))

    @property
    def matrix(self) -> Tensor:
        """The weight as (kernel * C_in, C_out), without a copy."""
        return self.weight.permute(2, 1, 0).flatten(0, 1)

    def _slide(self, samples: Tensor, count: int) -> Tensor:
        channels_out, channels_in, kernel = self.weight.shape
        batch = samples.shape[0]
        if not count:
            return samples.new_zeros(batch, 0, channels_out)
        # (B, count, C, kernel) -> rows of kernel * C values, in the order the matrix lies
        windows = samples.unfold(1, self.window.size, self.window.stride)[..., :: self.dilation]
        rows = windows.transpose(2, 3).reshape(batch * count, kernel * channels_in)
        product = self.packed or self._multiply
        return product(rows).view(batch, count, channels_out)

    def _multiply(self, rows: Tensor) -> Tensor:
        return torch.addmm(self.bias, rows, self.matrix)


@dataclass(frozen=True)
class UpsampleState:
    """``tail`` (B, 1, stride * C_out): what the last input adds to the next block of outputs.
    ``crop``: leading outputs still to be dropped, 0 once the first input has come."""

    tail: Tensor
    crop: int


class ConvTranspose(Layer):
    """Transposed convolution with kernel ``2 * stride``: every input sample makes two blocks of
    ``stride`` outputs, of which the second is added to the first of the next sample.

    Of the raw output the first ``stride // 2 + stride % 2`` samples and the last ``stride // 2``
    are cropped, so T samples become exactly ``stride * T``. ``weight`` has the published shape
    (C_in, C_out, 2 * stride) but lies in memory as the matrix (C_in, 2 * stride * C_out).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        matrix = torch.randn(channels_in, 2 * stride, channels_out) / math.sqrt(2 * channels_in)
        self.weight = nn.Parameter(matrix.permute(0, 2, 1))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.stride = stride
        self.packed: Product | None = None
        """Computes the product in place of ``weight``, without the bias: see
        facodec.published.precisions."""
        self.crop_left = stride // 2 + stride % 2
        self.crop_right = stride // 2

    @property
    def rate(self) -> Fraction:
        return Fraction(self.stride)

    @property
    def lookahead(self) -> Fraction:
        return Fraction(self.crop_left, self.stride)

    def initial_state(self, batch: int) -> UpsampleState:
        width = self.stride * self.weight.shape[1]
        return UpsampleState(self.weight.new_zeros(batch, 1, width), self.crop_left)

    def step(self, x: Tensor, state: UpsampleState) -> tuple[Tensor, UpsampleState]:
        if not x.shape[1]:
            return x.new_zeros(x.shape[0], 0, self.weight.shape[1]), state
        blocks, tails = self._blocks(x)
        summed = blocks + torch.cat((state.tail, tails[:, :-1]), dim=1)
        return self._samples(summed)[:, state.crop :], UpsampleState(tails[:, -1:], 0)

    def finish(self, x: Tensor, state: UpsampleState) -> Tensor:
        y, after = self.step(x, state)
        rest = self._samples(after.tail)[:, after.crop : self.stride - self.crop_right]
        return torch.cat((y, rest), dim=1)

    @property
    def matrix(self) -> Tensor:
        """The weight as (C_in, 2 * stride * C_out), without a copy."""
        return self.weight.permute(0, 2, 1).flatten(1, 2)

    def _blocks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, count, channels_in = x.shape
        product = self.packed or self._multiply
        both = product(x.reshape(batch * count, channels_in)).view(batch, count, 2, -1)
        blocks, tails = both.unbind(dim=2)
        return blocks, tails

    def _multiply(self, rows: Tensor) -> Tensor:
        return rows @ self.matrix

    def _samples(self, blocks: Tensor) -> Tensor:
        batch, count, _ = blocks.shape
        return blocks.reshape(batch, count * self.stride, -1) + self.bias
