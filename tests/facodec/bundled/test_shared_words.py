"""Detail whose words lie in one space: found, stored, computed in C and exported like others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import facodec
from facodec.bundled.model import LiveModel
from facodec.bundled.steps import FastLive
from facodec.bundled.storage import SIZES, load_live, save_live
from facodec.codec import Codec
from facodec.config import ABSENT, DETAIL_LAYERS, HOP, MIN_LAYERS, LiveConfig
from facodec.native import compiled
from facodec.native.compiled import SOURCES
from facodec.quantizer import SharedQuantizer
from facodec.reasons import FileError
from facodec.training.words import place_words, principal_components
from tests.conftest import missing
from tests.exactness import assert_equal_audio, assert_equal_codes

SPACE = 20


@pytest.fixture(scope="module")
def model(hello: np.ndarray) -> LiveModel:
    """The bundled model with words of this form, placed among what its branch says of speech."""
    bundled = facodec.load("live", backend="float32").model
    assert isinstance(bundled, LiveModel)
    model = LiveModel(LiveConfig(detail_space=SPACE)).eval()
    model.load_state_dict({**model.state_dict(), **_but_words(bundled)})
    heard: list[torch.Tensor] = []
    hook = model.detail.register_forward_hook(lambda *given: heard.append(given[2][0]))
    with torch.no_grad():
        model.encode(torch.from_numpy(hello[: len(hello) // HOP * HOP]).unsqueeze(0))
        latents = torch.cat(heard, dim=1)[0]
        chain = _chain(model)
        chain.in_proj.weight.copy_(principal_components(latents, SPACE))
        chain.out_proj.weight.copy_(chain.in_proj.weight.t())
        place_words(chain, chain.in_proj(latents), torch.Generator().manual_seed(1))
    hook.remove()
    return model


def _but_words(model: LiveModel) -> dict[str, torch.Tensor]:
    state = model.state_dict()
    return {k: v for k, v in state.items() if not k.startswith("detail_quantizer.")}


def _chain(model: LiveModel) -> SharedQuantizer:
    assert isinstance(model.detail_quantizer, SharedQuantizer)
    return model.detail_quantizer


def test_each_layer_codes_what_is_left_over(model: LiveModel) -> None:
    chain, vectors = _chain(model), torch.randn(50, model.config.content_width)
    with torch.no_grad():
        codes, meaning = chain.encode(vectors)
        left = chain.in_proj(vectors)
        for layer, code in zip(chain.places, codes.unbind(-1), strict=True):
            words = layer._codebook.weight
            assert torch.equal(code, torch.cdist(left, words).argmin(-1))
            left = left - words[code]
        torch.testing.assert_close(chain.decode(codes), meaning)


def test_absent_codes_mean_nothing(model: LiveModel) -> None:
    chain, codes = _chain(model), torch.randint(1024, (7, DETAIL_LAYERS))
    absent = torch.full_like(codes, ABSENT)
    assert not chain.decode(absent).any()
    alone = [torch.where(torch.arange(DETAIL_LAYERS) == i, codes, absent) for i in range(3)]
    torch.testing.assert_close(sum(map(chain.decode, alone)), chain.decode(codes))


@pytest.mark.parametrize("backend", ["native", "float32"])
def test_hops_give_the_codes_and_the_sound_of_whole_calls(
    model: LiveModel, hello: np.ndarray, backend: str
) -> None:
    if backend == "native" and compiled.library(SOURCES) is None:
        missing("a C compiler")
    fast, audio = FastLive(model, backend), torch.from_numpy(hello[: 300 * HOP]).unsqueeze(0)
    encoder, parts = fast.encoder_state(1), []
    for hop in audio.split(HOP, dim=1):
        found, encoder = fast.encoder_step(hop, encoder)
        parts.append(found)
    codes = torch.cat(parts, dim=2)
    assert_equal_codes(codes[0].numpy(), model, audio[0].numpy())
    assert len(codes[0, MIN_LAYERS:].unique()) > 100
    timbre = fast.encoder_timbre(encoder)
    for layers in range(MIN_LAYERS, codes.shape[1] + 1):
        fewer = codes.clone()
        fewer[:, layers:] = ABSENT
        decoder, sound = fast.decoder_state(1, 0), []
        for frame in fewer.unbind(2):
            spoken, decoder = fast.decoder_step(frame.unsqueeze(2), timbre, decoder)
            sound.append(spoken)
        wanted, _ = model.decoder_step(fewer, timbre, model.decoder_state(1, 0))
        assert_equal_audio(torch.cat(sound, dim=1), wanted)


def test_the_form_is_stored_beside_the_weights(model: LiveModel, tmp_path: Path) -> None:
    save_live(model, tmp_path)
    sizes = json.loads((tmp_path / SIZES).read_text())
    assert sizes["detail_space"] == SPACE
    again = load_live(tmp_path)
    assert torch.equal(_chain(again).in_proj.weight, _chain(model).in_proj.weight.half().float())
    (tmp_path / SIZES).write_text(json.dumps(sizes | {"detail_space": 0}))
    with pytest.raises(FileError, match="does not fit"):
        load_live(tmp_path)
    (tmp_path / SIZES).write_text(json.dumps(sizes | {"detail_space": -1}))
    with pytest.raises(FileError, match="expected detail_space from 0"):
        load_live(tmp_path)


def test_weights_without_the_form_have_spaces_of_their_own(tmp_path: Path) -> None:
    save_live(LiveModel(LiveConfig(detail_space=0)), tmp_path)
    sizes = json.loads((tmp_path / SIZES).read_text())
    del sizes["detail_space"]
    (tmp_path / SIZES).write_text(json.dumps(sizes))
    assert load_live(tmp_path).config.detail_space == 0


def test_exported_graphs_find_the_same_words(
    model: LiveModel, hello: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="missing: the extra onnx")
    pytest.importorskip("onnxscript", reason="missing: the extra onnx")
    from facodec.onnx.export import export
    from facodec.onnx.runtime import load_exported

    graphs = Codec(load_exported(export(model, tmp_path / "live").parent))
    codes = graphs.encode(hello).codes
    assert_equal_codes(codes, model, hello)
    timbre = graphs.voice(hello)
    assert_equal_audio(graphs.decode(codes, timbre), Codec(model).decode(codes, timbre))
