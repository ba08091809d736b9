"""Codes and timbres belong to a model: what its identity depends on, and who refuses another's."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from facodec.bundled.model import LiveModel
from facodec.bundled.storage import DIGEST, SIZES, WEIGHTS, save_live
from facodec.codec import Codec
from facodec.identity import ModelIdentity, ModelMismatch, belonging, model_of
from facodec.loading import load
from facodec.published.checkpoint import load_ns3, save_ns3
from facodec.published.model import Ns3Model
from facodec.reasons import FileError
from facodec.weights import bundled_path
from facodec.weights.hashing import identity_of
from facodec.weights.timbres import load_voices, save_voices, voices_identity

LIVE = ModelIdentity("live", "0123456789ab")


@pytest.fixture(scope="module")
def small(small_ns3: Ns3Model) -> Codec:
    return Codec(small_ns3)


@pytest.fixture(scope="module")
def retrained(live: Codec) -> Codec:
    """The bundled model with another decoder."""
    model = copy.deepcopy(live.model)
    assert isinstance(model, LiveModel)
    with torch.no_grad():
        for part in model.decoding_parts:
            for parameter in model.get_submodule(part).parameters():
                parameter.mul_(1.1)
    return Codec(model)


@pytest.mark.parametrize("text", ["live", "live@0123456789ab", "my-model.2@abcdefabcdef"])
def test_text_and_back(text: str) -> None:
    assert str(ModelIdentity.parse(text)) == text


@pytest.mark.parametrize("text", ["", "live@", "live@0123", "live@0123456789AB", "a b", None, 3])
def test_what_is_no_identity(text: object) -> None:
    with pytest.raises(ValueError, match="expected a model like"):
        ModelIdentity.parse(text)


def test_unknown_weights_fit_any_of_the_name() -> None:
    assert LIVE.fits(ModelIdentity("live")) and ModelIdentity("live").fits(LIVE)
    assert not LIVE.fits(ModelIdentity("ns3")) and not ModelIdentity("ns3").fits(LIVE)
    assert not LIVE.fits(ModelIdentity("live", "0" * 12))


@pytest.mark.parametrize("which", ["live", "ns3"])
def test_every_weight_counts_but_those_that_only_decode(
    which: str, untrained: Codec, small_ns3: Ns3Model
) -> None:
    model = copy.deepcopy(untrained.model if which == "live" else small_ns3)
    assert isinstance(model, (LiveModel, Ns3Model))
    before, seen = identity_of(model), set()
    state = model.state_dict()
    for name in state:
        kept = state[name].clone()
        with torch.no_grad():
            state[name][(0,) * state[name].ndim] += 1.0
        after = identity_of(model)
        decodes = any(name.startswith(f"{part}.") for part in model.decoding_parts)
        assert (after == before) == decodes, name
        seen.add(decodes)
        with torch.no_grad():
            state[name].copy_(kept)
    assert seen == {True, False} and identity_of(model) == before


def test_neither_order_nor_precision_on_disk_counts(tmp_path: Path, untrained: Codec) -> None:
    model = untrained.model
    assert isinstance(model, LiveModel)
    save_live(model, tmp_path)
    assert load(tmp_path).identity == untrained.identity
    state = {k: v.clone() for k, v in reversed(model.state_dict().items())}
    safetensors.torch.save_file(state, tmp_path / WEIGHTS, metadata={"of": "no account"})
    sizes = json.loads((tmp_path / SIZES).read_text())
    del sizes[DIGEST]  # of the file that was there
    (tmp_path / SIZES).write_text(json.dumps(sizes))
    assert load(tmp_path).identity == untrained.identity


def test_a_folded_copy_is_the_same_model(ns3_directory: Path, tmp_path: Path) -> None:
    """The official files have weight norm, ours do not."""
    model = load_ns3(ns3_directory)
    save_ns3(model, tmp_path)
    assert identity_of(load_ns3(tmp_path)) == identity_of(model)


def test_what_a_codec_gives_says_its_model(live: Codec, hello: np.ndarray) -> None:
    frames = live.encode(hello[:32_000])
    stream = live.encoder_stream()
    given = [frames.codes, frames.timbre, live.voice(hello), stream.push(hello[:8_000])]
    given += [stream.timbre, stream.flush(), *live.voices.values()]  # type: ignore[list-item]
    given += [frames.timbre.copy(), frames.codes[:3], (live.voices["hazel"] + frames.timbre) / 2]
    assert {model_of(array) for array in given} == {live.identity}
    assert live.identity.name == "live" and len(live.identity.weights) == 12


USES: dict[str, Callable[[Codec, np.ndarray, np.ndarray, np.ndarray, np.ndarray], object]] = {
    "decode, codes": lambda c, codes, voice, own, audio: c.decode(codes, own),
    "decode, voice": lambda c, codes, voice, own, audio: c.decode(np.asarray(codes), voice),
    "decoder stream": lambda c, codes, voice, own, audio: c.decoder_stream(voice),
    "decoder stream, codes": lambda c, codes, voice, own, audio: c.decoder_stream(own).push(codes),
    "decoder stream, another voice": lambda c, codes, voice, own, audio: setattr(
        c.decoder_stream(own), "timbre", voice
    ),
    "convert": lambda c, codes, voice, own, audio: c.convert(audio, voice),
    "convert, talker": lambda c, codes, voice, own, audio: c.convert(audio, own, talker=voice),
    "converter stream, another voice": lambda c, codes, voice, own, audio: setattr(
        c.converter_stream(own), "timbre", voice
    ),
    "convert codes": lambda c, codes, voice, own, audio: c.convert_codes(codes, own, own),
    "convert codes, source": lambda c, codes, voice, own, audio: c.convert_codes(
        np.asarray(codes), voice, own
    ),
    "convert timbre": lambda c, codes, voice, own, audio: c.convert_timbre(own, voice),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("other", ["ns3", "live of other weights"])
def test_codes_and_voices_of_another_model_are_refused(
    use: str, other: str, live: Codec, untrained: Codec, small: Codec, hello: np.ndarray
) -> None:
    audio = hello[8_000:16_000]
    stranger = small if other == "ns3" else untrained
    foreign = stranger.encode(audio)
    with pytest.raises(ModelMismatch) as caught:
        USES[use](live, foreign.codes, foreign.timbre, live.voices["hazel"], audio)
    assert str(stranger.identity) in str(caught.value) and str(live.identity) in str(caught.value)
    assert "--model" in str(caught.value)


def test_a_decoder_that_was_trained_on_takes_older_codes_and_voices(
    live: Codec, retrained: Codec, hello: np.ndarray
) -> None:
    assert retrained.identity == live.identity
    frames = live.encode(hello[:8_000])
    mine, theirs = (codec.decode(frames.codes, frames.timbre) for codec in (retrained, live))
    assert mine.shape == theirs.shape and not np.array_equal(mine, theirs)


def test_plain_arrays_are_taken_as_the_codecs_own(
    live: Codec, untrained: Codec, hello: np.ndarray
) -> None:
    frames = untrained.encode(hello[:4_000])
    assert len(live.decode(np.asarray(frames.codes), np.asarray(frames.timbre))) == 4_000


def test_the_bundled_voices_say_whose_they_are(live: Codec) -> None:
    assert voices_identity(bundled_path()) == live.identity


def test_voices_beside_other_weights_are_refused(
    tmp_path: Path, live: Codec, untrained: Codec, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(untrained.model, LiveModel)
    save_live(untrained.model, tmp_path)
    save_voices(tmp_path, live.voices, live.identity)
    with pytest.raises(FileError) as caught:
        load(tmp_path)
    for part in (str(live.identity), str(untrained.identity), "voices.safetensors", "make them"):
        assert part in str(caught.value)
    safetensors.torch.save_file({"a": torch.ones(256)}, tmp_path / "voices.safetensors")
    assert model_of(load_voices(tmp_path, LIVE)["a"]) == LIVE
    assert "does not say which model" in caplog.text


@pytest.mark.parametrize("told", ["live", "live@0", ""])
def test_damaged_metadata_of_voices(tmp_path: Path, told: str) -> None:
    save_voices(tmp_path, {"a": np.ones(256, np.float32)}, LIVE)
    safetensors.torch.save_file(
        {"a": torch.ones(256)}, tmp_path / "voices.safetensors", metadata={"identity": told}
    )
    if told == "live":
        assert load_voices(tmp_path, LIVE)
        return
    with pytest.raises(FileError, match="cannot read voices"):
        load_voices(tmp_path, LIVE)


def test_an_array_that_is_marked_is_an_array() -> None:
    array = belonging(np.arange(3.0), LIVE)
    assert np.array_equal(array, [0, 1, 2]) and array.tobytes() == np.arange(3.0).tobytes()
    assert model_of(np.asarray(array)) is None and model_of([1]) is None
