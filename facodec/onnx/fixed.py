"""The published model's layers with states of fixed shapes, as an exported graph needs them.

:mod:`facodec.published.layers` holds back outputs until their context has come, so shapes change
over a stream's first half second and at its end. Here every call takes and gives the same number of
samples from the first: outputs come ``delay`` samples late, and what lies before the first sample
of the signal or past its last one counts as the layer's padding. A clock of two numbers tells
where that is. Results are those of the offline layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facodec.published.activation import DOUBLE, HALVE, Activation, Fir, banded
from facodec.published.layers import Chain, Composite, Conv, ConvTranspose, Layer
from facodec.published.residual import ResidualUnit

ENDLESS = 1 << 40
"""Frames still to come of a stream whose end is not known."""
REACH = 8
"""Frames after its delay in which a chain may still look at what was before the signal."""


@dataclass(frozen=True)
class Clock:
    """int64 numbers (1,), the same for all rows of a batch. ``heard``: frames before this call,
    which may stop counting at the chain's delay + :data:`REACH`; ``coming``: frames of the signal
    that this call and later ones still get, :data:`ENDLESS` while it goes on."""

    heard: Tensor
    coming: Tensor


@dataclass(frozen=True)
class Place:
    """Place of a signal in the chain: ``per_frame`` samples a frame, ``count`` samples a call,
    ``delay`` samples behind the start of the chain."""

    per_frame: int
    count: int
    delay: int

    def edges(self, clock: Clock, before: int) -> tuple[Tensor, Tensor]:
        """Index of the first and of the last sample of the signal, counted from ``before``
        samples before those of this call."""
        return (
            self.delay + before - clock.heard * self.per_frame,
            self.delay + before - 1 + clock.coming * self.per_frame,
        )


Step = tuple[Tensor, list[Tensor]]


class Fixed(nn.Module):
    """A layer whose ``states`` are the shapes (n, C) of the samples it keeps, by name."""

    states: dict[str, tuple[int, int]]
    out: Place

    def forward(self, x: Tensor, kept: list[Tensor], clock: Clock) -> Step:
        """x (B, count, C), kept samples -> y (B, count', C') and the samples to keep next."""
        raise NotImplementedError


class FixedConv(Fixed):
    """A convolution: zeros outside the signal."""

    def __init__(self, conv: Conv, place: Place) -> None:
        super().__init__()
        window, self.place = conv.window, place
        stride = window.stride
        delay = -(-(place.delay + window.size - window.left - stride) // stride)
        count = place.count // stride
        self.out = Place(place.per_frame // stride, count, delay)
        pending = stride * delay - place.delay + window.left
        _, channels_in, kernel = conv.weight.shape
        self.states = {} if kernel == stride == 1 else {"pending": (pending, channels_in)}
        self.weight, self.bias = nn.Parameter(conv.matrix), conv.bias
        starts = torch.arange(count).unsqueeze(1) * stride
        self.taps = (starts + torch.arange(kernel) * conv.dilation).flatten()
        self.width = kernel * channels_in

    def forward(self, x: Tensor, kept: list[Tensor], clock: Clock) -> Step:
        if not self.states:
            return x @ self.weight + self.bias, []
        samples = torch.cat((kept[0], silence_outside(x, self.place, clock)), dim=1)
        rows = samples.index_select(1, self.taps).reshape(-1, self.out.count, self.width)
        return rows @ self.weight + self.bias, [samples[:, self.place.count :]]


class FixedUpsample(Fixed):
    """A transposed convolution: no input outside the signal."""

    def __init__(self, layer: ConvTranspose, place: Place) -> None:
        super().__init__()
        self.place, stride = place, layer.stride
        self.out = Place(
            place.per_frame * stride, place.count * stride, place.delay * stride + layer.crop_left
        )
        self.width = stride * layer.weight.shape[1]
        self.states = {"tail": (1, self.width)}
        self.weight, self.bias = nn.Parameter(layer.matrix), layer.bias

    def forward(self, x: Tensor, kept: list[Tensor], clock: Clock) -> Step:
        both = silence_outside(x, self.place, clock) @ self.weight
        blocks, tails = both.split(self.width, dim=2)
        late = torch.cat((kept[0], tails), dim=1)
        summed = blocks + late[:, :-1]
        return summed.reshape(-1, self.out.count, len(self.bias)) + self.bias, [late[:, -1:]]


class FixedActivation(Fixed):
    """The anti-aliased Snake: outside the signal its edge sample, at both rates."""

    SAMPLES, DOUBLED = DOUBLE.window.size - 1, 10
    """Kept from call to call: samples, and activated samples of the doubled rate."""
    LEFT = HALVE.window.left

    def __init__(self, layer: Activation, place: Place) -> None:
        super().__init__()
        self.place = place
        self.out = Place(place.per_frame, place.count, place.delay + int(layer.lookahead))
        channels = layer.act.alpha.shape[0]
        self.states = {"samples": (self.SAMPLES, channels), "doubled": (self.DOUBLED, channels)}
        self.frequency = layer.act.alpha.exp()
        self.magnitude = (layer.act.beta.exp() + 1e-9).rsqrt()
        self.up = FixedFir(DOUBLE, place.count)
        self.down = FixedFir(HALVE, place.count)

    def forward(self, x: Tensor, kept: list[Tensor], clock: Clock) -> Step:
        samples = torch.cat((kept[0], x), dim=1)
        doubled = self.up(samples, *self.place.edges(clock, self.SAMPLES))
        wave = torch.sin(doubled * self.frequency) * self.magnitude
        doubled = torch.cat((kept[1], doubled + wave * wave), dim=1)
        # The window of the first output q begins with sample 2 q - 5 of the doubled rate, whose
        # first pair, samples -1 and 0, lies half outside the signal.
        first, last = self.out.edges(clock, 0)
        edges = 2 * first + self.LEFT, 2 * last + 1 + self.LEFT
        after = [samples[:, self.place.count :], doubled[:, 2 * self.place.count :]]
        return self.down(doubled, *edges), after


class FixedFir(nn.Module):
    """:class:`facodec.published.activation.Fir` over ``count`` windows, the edges of the signal
    repeated."""

    def __init__(self, fir: Fir, count: int) -> None:
        super().__init__()
        self.outputs = count * len(fir.taps)
        block = fir.block(count)
        self.blocks = -(-count // block)
        self.matrix = banded(fir, block, torch.float32, torch.device("cpu"))
        starts = torch.arange(self.blocks).unsqueeze(1) * (block * fir.window.stride)
        self.top = (count - 1) * fir.window.stride + fir.window.size - 1
        self.taps = (starts + torch.arange(self.matrix.shape[1])).clamp_max(self.top).flatten()

    def forward(self, samples: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """samples (B, n, C), of which ``first`` to ``last`` are the signal -> (B, outputs, C)."""
        taps = self.taps.maximum(first.clamp_max(self.top)).minimum(last.clamp_min(0))
        _, size = self.matrix.shape
        windows = samples.index_select(1, taps).unflatten(1, (self.blocks, size))
        outputs: Tensor = (self.matrix @ windows).flatten(1, 2)[:, : self.outputs]
        return outputs


class FixedChain(Fixed):
    """Layers one after the other."""

    def __init__(self, chain: Chain, place: Place) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        for layer in chain.layers:
            part = fixed(layer, place)
            self.parts.append(part)
            place = part.out
        self.out = place
        self.states = {
            f"{index}.{name}": shape
            for index, part in enumerate(self.parts)
            for name, shape in part.states.items()  # type: ignore[operator, union-attr]
        }

    def forward(self, x: Tensor, kept: list[Tensor], clock: Clock) -> Step:
        after: list[Tensor] = []
        for part in self.parts:
            mine = kept[len(after) : len(after) + len(part.states)]  # type: ignore[arg-type]
            x, new = part(x, mine, clock)
            after += new
        return x, after


class FixedResidual(Fixed):
    """A residual unit: its input waits for the layers' answer."""

    def __init__(self, unit: ResidualUnit, place: Place) -> None:
        super().__init__()
        self.chain = FixedChain(unit.block, place)
        self.out = self.chain.out
        self.states = self.chain.states | {"skip": (self.out.delay - place.delay, unit.channels)}

    def forward(self, x: Tensor, kept: list[Tensor], clock: Clock) -> Step:
        y, after = self.chain(x, kept[:-1], clock)
        waiting = torch.cat((kept[-1], x), dim=1)
        count = self.out.count
        return y + waiting[:, :count], [*after, waiting[:, count:]]


def fixed(layer: Layer, place: Place) -> Fixed:
    """The counterpart of a layer of :mod:`facodec.published.layers` whose input is at ``place``."""
    if isinstance(layer, Conv):
        return FixedConv(layer, place)
    if isinstance(layer, ConvTranspose):
        return FixedUpsample(layer, place)
    if isinstance(layer, Activation):
        return FixedActivation(layer, place)
    if isinstance(layer, ResidualUnit):
        return FixedResidual(layer, place)
    if isinstance(layer, Composite):
        return FixedChain(layer.block, place)
    raise ValueError(
        f"expected a layer that has a form of fixed shapes, got {type(layer).__name__}"
    )


def silence_outside(x: Tensor, place: Place, clock: Clock) -> Tensor:
    """x (B, count, C) at ``place`` with zeros for what is not a sample of the signal."""
    first, last = place.edges(clock, 0)
    index = torch.arange(place.count).unsqueeze(1)
    return torch.where((index >= first) & (index <= last), x, 0.0)
