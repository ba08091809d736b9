"""Weights in 8 bits: what they say, and that all that computes with them agrees."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from facodec.bundled.eight_bits import LARGEST, in_bytes, linear_weights, round_weights, rounded
from facodec.bundled.model import LiveModel
from facodec.bundled.steps.image import image_of
from facodec.bundled.storage import DIGEST, SCALE, SIZES, WEIGHTS, load_live, save_live
from facodec.codec import Codec
from facodec.config import HOP
from facodec.native import compiled
from facodec.reasons import FileError
from facodec.weights.hashing import identity_of
from tests.exactness import assert_equal_audio, assert_equal_codes


@pytest.fixture(scope="module")
def model(live: Codec) -> LiveModel:
    made = deepcopy(cast(LiveModel, live.model))
    round_weights(made)
    return made


def test_a_row_is_whole_numbers_of_which_the_largest_is_127() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(30, 50) * 10.0 ** torch.linspace(-6, 6, 30).unsqueeze(1)
    found = rounded(matrix)
    assert (found.whole.int().abs().amax(1) == LARGEST).all()
    step = (found.values - matrix).abs() / found.scale.unsqueeze(1)
    assert float(step.max()) <= 0.51


def test_rounding_again_changes_nothing() -> None:
    torch.manual_seed(1)
    once = rounded(torch.randn(200, 64)).values
    again = in_bytes(once)
    assert again is not None and torch.equal(again.values, once)
    assert in_bytes(once + 1e-4) is None and in_bytes(torch.randn(4, 4)) is None
    nothing = in_bytes(torch.zeros(3, 4))
    assert nothing is not None and not nothing.values.any()


def test_all_matrices_are_rounded_but_those_between_words(model: LiveModel) -> None:
    weights = linear_weights(model)
    assert "head.weight" in weights and "decoder.blocks.0.expand.weight" in weights
    assert not [name for name in weights if "quantizer" in name]
    assert all(in_bytes(weight) is not None for weight in weights.values())
    whole = sum(weight.numel() for weight in weights.values())
    assert whole > 0.9 * sum(p.numel() for p in model.parameters())


def test_they_are_stored_in_a_byte_each(model: LiveModel, tmp_path: Path) -> None:
    save_live(model, tmp_path)
    assert (tmp_path / WEIGHTS).stat().st_size < 1.2 * sum(p.numel() for p in model.parameters())
    again = load_live(tmp_path)
    for name, weight in linear_weights(model).items():
        assert torch.equal(linear_weights(again)[name], weight), name
    assert identity_of(again) == identity_of(model)


@pytest.mark.parametrize("damage", ["none", "short"])
def test_scales_that_are_missing_are_told(model: LiveModel, tmp_path: Path, damage: str) -> None:
    save_live(model, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    scale = tensors.pop("head.weight" + SCALE)
    if damage == "short":
        tensors["head.weight" + SCALE] = scale[1:].clone()
    save_file(tensors, tmp_path / WEIGHTS)
    sizes = json.loads((tmp_path / SIZES).read_text())
    del sizes[DIGEST]  # which would tell first
    (tmp_path / SIZES).write_text(json.dumps(sizes))
    with pytest.raises(FileError, match=r"scale for each row of head\.weight"):
        load_live(tmp_path)


def test_steps_in_c_say_the_same(model: LiveModel, hello: np.ndarray) -> None:
    if compiled.library(compiled.SOURCES) is None:
        pytest.skip("there is no compiled code")
    heard = torch.from_numpy(hello[: 200 * HOP]).unsqueeze(0)
    native, plain = model.steps("native"), model.steps("float32")
    codes, _ = native.encoder_step(heard, native.encoder_state(1))
    assert_equal_codes(codes, model, heard)
    timbre = torch.zeros(1, 256)
    sound = [
        each.decoder_step(codes, timbre, each.decoder_state(1, 0))[0] for each in (native, plain)
    ]
    assert_equal_audio(*sound)


def test_a_page_fetches_less(model: LiveModel, live: Codec) -> None:
    other = deepcopy(model)
    with torch.no_grad():
        for weight in linear_weights(other).values():
            weight.add_(torch.randn_like(weight) * 1e-4).copy_(weight.half().float())
    small, large = image_of(model), image_of(other)
    assert small is not None and large is not None
    assert len(small.data) < 0.8 * len(large.data)
    kinds = [run[0] for run in small.about["runs"]]
    assert kinds.count("scaled") > 20
