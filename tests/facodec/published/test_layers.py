"""The streaming layers against plain PyTorch, and the law: any chunking gives what offline does."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from facodec.published.activation import Activation, resampling_filter
from facodec.published.layers import Chain, Conv, ConvTranspose, Layer
from facodec.published.residual import ResidualUnit
from facodec.states import tensors_of
from tests.exactness import assert_equal_numbers

CHANNELS = 3
LAYERS = {
    "conv": lambda: Conv(CHANNELS, 4, 7, padding=3),
    "pointwise": lambda: Conv(CHANNELS, 4, 1),
    "dilated": lambda: Conv(CHANNELS, 4, 7, dilation=9, padding=27),
    "strided even": lambda: Conv(CHANNELS, 4, 8, stride=4, padding=2),
    "strided odd": lambda: Conv(CHANNELS, 4, 10, stride=5, padding=3),
    "transposed even": lambda: ConvTranspose(CHANNELS, 4, 2),
    "transposed odd": lambda: ConvTranspose(CHANNELS, 4, 5),
    "activation": lambda: Activation(CHANNELS),
    "residual": lambda: ResidualUnit(CHANNELS, 3),
    "chain": lambda: Chain(
        [
            ConvTranspose(CHANNELS, 4, 5),
            ResidualUnit(4, 9),
            Activation(4),
            Conv(4, 2, 4, stride=2, padding=1),
        ]
    ),
}


def made(name: str) -> Layer:
    torch.manual_seed(3)
    layer = LAYERS[name]()
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.ndim == 1:
                parameter.copy_(0.3 * torch.randn(parameter.shape))
    return layer.requires_grad_(False)


def signal(length: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, CHANNELS, generator=generator)


def streamed(layer: Layer, x: Tensor, sizes: list[int]) -> Tensor:
    """The outputs for x cut into chunks of the given sizes and one of the rest, then flushed."""
    state, parts = layer.initial_state(x.shape[0]), []
    for size in sizes:
        y, state = layer.step(x[:, :size], state)
        parts.append(y)
        x = x[:, size:]
    y, state = layer.step(x, state)
    return torch.cat((*parts, y, layer.finish(x[:, :0], state)), dim=1)


def channels_first(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


@pytest.mark.law
@pytest.mark.parametrize("name", ["conv", "pointwise", "dilated", "strided even", "strided odd"])
def test_convolution_is_that_of_torch(name: str) -> None:
    layer, x = made(name), signal(100, batch=2)
    assert isinstance(layer, Conv)
    window = layer.window
    wanted = F.conv1d(
        channels_first(x),
        layer.weight,
        layer.bias,
        stride=window.stride,
        padding=window.left,
        dilation=layer.dilation,
    )
    assert_equal_numbers(channels_first(layer(x)), wanted)


@pytest.mark.law
@pytest.mark.parametrize("name", ["transposed even", "transposed odd"])
def test_transposed_convolution_is_that_of_torch(name: str) -> None:
    layer, x = made(name), signal(20, batch=2)
    assert isinstance(layer, ConvTranspose)
    stride = layer.stride
    wanted = F.conv_transpose1d(
        channels_first(x),
        layer.weight,
        layer.bias,
        stride=stride,
        padding=stride // 2 + stride % 2,
        output_padding=stride % 2,
    )
    assert_equal_numbers(channels_first(layer(x)), wanted)


@pytest.mark.law
@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_activation_is_upsampling_snake_downsampling(length: int) -> None:
    layer, x = made("activation"), signal(length, batch=2)
    taps = torch.tensor(resampling_filter()).expand(CHANNELS, 1, 12)
    padded = F.pad(channels_first(x), (5, 5), mode="replicate")
    doubled = 2 * F.conv_transpose1d(padded, taps, stride=2, groups=CHANNELS)[..., 15:-15]
    alpha, beta = layer.act.alpha.exp()[:, None], layer.act.beta.exp()[:, None]
    active = doubled + torch.sin(doubled * alpha) ** 2 / (beta + 1e-9)
    padded = F.pad(active, (5, 6), mode="replicate")
    wanted = F.conv1d(padded, taps, stride=2, groups=CHANNELS)
    assert_equal_numbers(channels_first(layer(x)), wanted)


def test_resampling_filter_is_symmetric_and_passes_a_constant() -> None:
    taps = resampling_filter()
    assert sum(taps) == pytest.approx(1)
    assert taps == pytest.approx(taps[::-1])


@pytest.mark.law
@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=25, deadline=None)
@given(length=st.integers(0, 150), sizes=st.lists(st.integers(0, 40), max_size=12))
def test_any_chunking_gives_what_offline_does(name: str, length: int, sizes: list[int]) -> None:
    layer, x = made(name), signal(length, batch=2)
    assert_equal_numbers(streamed(layer, x, sizes), layer(x))


@pytest.mark.parametrize("name", LAYERS)
def test_length_is_the_rate_times_the_input(name: str) -> None:
    layer = made(name)
    for length in (0, 20, 100):
        assert layer(signal(length)).shape[1] == length * layer.rate


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_leaves_its_state_as_it_was(name: str) -> None:
    layer, x = made(name), signal(80)
    _, state = layer.step(x[:, :40], layer.initial_state(1))
    kept = copy.deepcopy(state)
    first, _ = layer.step(x[:, 40:], state)
    for now, then in zip(tensors_of(state), tensors_of(kept), strict=True):
        assert torch.equal(now, then)
    assert torch.equal(first, layer.step(x[:, 40:], kept)[0])


@pytest.mark.parametrize("name", LAYERS)
def test_lookahead_is_what_a_stream_holds_back(name: str) -> None:
    """After T samples a layer owes exactly its look-ahead, rounded up to whole output samples."""
    layer = made(name)
    for length in (100, 140):
        y, _ = layer.step(signal(length), layer.initial_state(1))
        owed = (length - layer.lookahead) * layer.rate
        assert y.shape[1] == owed.__floor__()


def test_outputs_do_not_depend_on_more_than_the_lookahead() -> None:
    # In double precision: the outermost taps are too small to show in single.
    layer, x = made("residual").double(), signal(120).double()
    changed = x.clone()
    changed[:, 60:] += 1
    same = 60 - int(layer.lookahead)
    difference = (layer(x) - layer(changed)).abs().amax(dim=(0, 2))
    assert difference[:same].max() == 0
    assert difference[same] > 0


def test_lookahead_of_a_chain_adds_up_in_input_samples() -> None:
    chain = Chain([ConvTranspose(2, 2, 5), Conv(2, 2, 7, padding=3)])
    assert chain.lookahead == Fraction(3, 5) + Fraction(3, 5)
    assert chain.rate == 5
