"""The published model in each precision: how far it may be from float32, and the law of streams."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import facodec
from facodec.config import HOP, Ns3Config
from facodec.native import compiled
from facodec.published import snake as snake_backend
from facodec.published.activation import Activation
from facodec.published.checkpoint import load_ns3
from facodec.published.layers import Conv
from facodec.published.model import Ns3Model
from facodec.published.precisions import DECODER_PRODUCTS, prepare
from facodec.training.metrics import log_mel_distance
from tests.conftest import missing
from tests.exactness import assert_equal_audio, assert_equal_codes, assert_equal_numbers

# dB of the audio against float32, and of one frame a call against offline; log-mel L1.
DISTANCES = {"float32": (100.0, 1e-5), "bf16": (35.0, 0.01), "int8": (25.0, 0.03)}


def signal_to_noise(reference: Tensor, other: Tensor) -> float:
    noise = (reference - other).square().mean().clamp_min(1e-20)
    return float(10 * torch.log10(reference.square().mean() / noise))


@pytest.mark.parametrize("backend", DECODER_PRODUCTS)
def test_a_backend_keeps_the_codes_and_its_distance(
    backend: str, ns3_directory: Path, golden: dict[str, Tensor]
) -> None:
    codec = facodec.load(ns3_directory, backend=backend)
    model = codec.model
    assert isinstance(model, Ns3Model)
    assert model.backend == backend
    assert any(layer.packed for layer in model.modules() if isinstance(layer, Conv))
    codes, timbre = golden["v1_b_codes"].unsqueeze(0).long(), golden["v1_b_timbre"].unsqueeze(0)
    audio = golden["wav_b"].unsqueeze(0)
    assert_equal_codes(codes[0], model, audio[0])
    heard, spoken = model.encoder_state(), model.decoder_state()
    streamed_codes, streamed = [], []
    for frame, hop in zip(codes.split(1, dim=2), audio.split(HOP, dim=1), strict=True):
        found, heard = model.encoder_step(hop, heard)
        streamed_codes.append(found)
        sound, spoken = model.decoder_step(frame, timbre, spoken)
        streamed.append(sound)
    streamed_codes.append(model.encoder_flush(heard))
    assert_equal_codes(torch.cat(streamed_codes, dim=2), model, audio)
    ratio, distance = DISTANCES[backend]
    offline = model.decode(codes, timbre)
    one_by_one = torch.cat((*streamed, model.decoder_flush(timbre, spoken)), dim=1)
    for reference, other in ((golden["v1_b_audio"], offline[0]), (offline[0], one_by_one[0])):
        assert signal_to_noise(reference, other) >= ratio
        assert log_mel_distance(reference.numpy(), other.numpy()) <= distance


def test_the_default_is_exact(ns3_directory: Path, golden: dict[str, Tensor]) -> None:
    codec = facodec.load(ns3_directory)
    assert codec.backend == "float32"
    audio = codec.decode(golden["v1_b_codes"].numpy(), golden["v1_b_timbre"].numpy())
    assert_equal_audio(audio, golden["v1_b_audio"])


def test_packing_leaves_the_parameters_alone(small_ns3: Ns3Model) -> None:
    model = Ns3Model(Ns3Config.small())
    model.load_state_dict(small_ns3.state_dict())
    prepare(model, "bf16")
    for name, value in model.state_dict().items():
        assert torch.equal(value, small_ns3.state_dict()[name])


def test_where_nothing_can_be_packed_only_float32_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = prepare(Ns3Model(Ns3Config.small()))
    assert model.backend == "float32"
    assert not any(layer.packed for layer in model.modules() if isinstance(layer, Conv))
    with pytest.raises(ValueError, match=r"bf16.*cannot be used here: .*oneDNN"):
        prepare(model, "bf16")


def test_bfloat16_takes_a_cpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(ValueError, match=r"bf16.*cannot be used here: .*AVX-512"):
        prepare(Ns3Model(Ns3Config.small()), "bf16")


def test_backends_that_are_not_there(ns3_directory: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a backend of auto, float32.* got 'int4'"):
        facodec.load(ns3_directory, backend="int4")
    with pytest.raises(ValueError, match=r"backend of live .*got 'int8': only products of ns3"):
        facodec.load("live", backend="int8")
    with pytest.raises(ValueError, match=r"expected a backend of .* got 'onnx'"):
        prepare(load_ns3(ns3_directory), "onnx")


@pytest.fixture(scope="session")
def snake() -> Activation:
    """An activation with what a compiler makes of it."""
    layer = Activation(48)
    generator = torch.Generator().manual_seed(3)
    for parameter in (layer.act.alpha, layer.act.beta):
        parameter.data = 0.5 * torch.randn(48, generator=generator)
    layer.fused = snake_backend.fused(layer)
    if os.environ.get(compiled.SWITCH) == "0":
        pytest.skip("compiled code is switched off")
    if layer.fused is None:
        missing("a C compiler")
    return layer


@pytest.mark.law
@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 90), max_size=8))
def test_the_fused_activation_is_the_plain_one_in_any_chunks(
    snake: Activation, sizes: list[int]
) -> None:
    x = 3 * torch.randn(2, 5 + sum(sizes), 48, generator=torch.Generator().manual_seed(4))
    state, parts = snake.initial_state(2), []
    with torch.inference_mode():
        for chunk in x.split([*sizes, 5], dim=1):
            part, state = snake.step(chunk, state)
            parts.append(part)
        parts.append(snake.finish(x[:, :0], state))
        assert_equal_numbers(torch.cat(parts, dim=1), snake(x))


@pytest.mark.native
@pytest.mark.law
@torch.inference_mode()
def test_the_fused_activation_is_as_exact_as_the_plain_one(snake: Activation) -> None:
    x = 3 * torch.randn(1, 400, 48, generator=torch.Generator().manual_seed(5))
    whole = copy.deepcopy(snake).double()(x.double())
    _, state = snake.step(x[:, :100], snake.initial_state(1))
    fused, _ = snake.step(x[:, 100:], state)
    ours = (fused - whole[:, 95:-5]).abs().max()
    plain = (snake(x) - whole).abs().max()
    assert ours <= 2 * plain


@pytest.mark.native
@torch.inference_mode()
def test_the_fused_activation_changes_no_state_and_stays_finite(snake: Activation) -> None:
    _, state = snake.step(torch.randn(1, 50, 48), snake.initial_state(1))
    before = copy.deepcopy(state)
    first, _ = snake.step(torch.full((1, 40, 48), 1e12), state)
    assert bool(first.isfinite().all())
    assert torch.equal(state.samples, before.samples)
    assert torch.equal(state.doubled, before.doubled)


def test_without_a_compiler_pytorch_does_it_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", str(tmp_path / "no-compiler"))
    compiled.library.cache_clear()
    try:
        model = prepare(Ns3Model())
        assert not any(layer.fused for layer in model.modules() if isinstance(layer, Activation))
        codes, _ = model.encoder_step(torch.zeros(1, 40 * HOP), model.encoder_state())
        assert codes.shape == (1, 6, 14)
    finally:
        compiled.library.cache_clear()
