"""The public interface: any chunk length, clear refusals, snapshots."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import facodec
from facodec.bundled.levels import NORMAL, speech_level
from facodec.codec import Codec
from tests.exactness import assert_equal_audio, assert_equal_codes, assert_equal_numbers

SHORT = 6_150  # samples: not a whole number of hops


def cut(samples: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    """Pieces of the given lengths, then the rest."""
    return np.split(samples, np.minimum(np.cumsum(lengths, dtype=int), len(samples)))


@pytest.mark.law
@given(lengths=st.lists(st.sampled_from([0, 1, 7, 160, 199, 200, 201, 999]), max_size=30))
@settings(max_examples=15, deadline=None)
def test_streams_equal_offline_for_any_chunks(
    live: Codec, hello: np.ndarray, lengths: list[int]
) -> None:
    audio = hello[3_000 : 3_000 + SHORT]
    frames = live.encode(audio)
    encoder, decoder = live.encoder_stream(), live.decoder_stream(frames.timbre)
    converter = live.converter_stream(frames.timbre)
    heard, spoken, converted = [], [], []
    for piece in cut(audio, lengths):
        heard.append(encoder.push(piece))
        spoken.append(decoder.push(heard[-1]))
        converted.append(converter.push(piece))
    heard.append(encoder.flush())
    spoken += [decoder.push(heard[-1]), decoder.flush()]
    converted.append(converter.flush())
    assert_equal_codes(np.concatenate(heard, axis=1), live.model, audio)
    wanted = live.decode(np.concatenate(heard, axis=1), frames.timbre)
    assert_equal_audio(np.concatenate(spoken), wanted)
    assert_equal_audio(np.concatenate(converted), live.convert(audio, frames.timbre))
    assert_equal_numbers(encoder.timbre, frames.timbre)


def test_interleaved_streams_do_not_touch_each_other(
    live: Codec, hello: np.ndarray, reply: np.ndarray
) -> None:
    inputs = [hello[2_000:10_000], reply[2_000:10_000]]
    streams = [live.encoder_stream() for _ in inputs]
    heard: list[list[np.ndarray]] = [[], []]
    for start in range(0, 8_000, 500):
        for stream, audio, codes in zip(streams, inputs, heard, strict=True):
            codes.append(stream.push(audio[start : start + 500]))
    for stream, audio, codes in zip(streams, inputs, heard, strict=True):
        codes.append(stream.flush())
        assert_equal_codes(np.concatenate(codes, axis=1), live.model, audio)


def test_reset_and_snapshot(live: Codec, hello: np.ndarray) -> None:
    audio = hello[3_000:9_000]
    encoder = live.encoder_stream()
    first = encoder.push(audio[:3_333])
    kept = encoder.snapshot()
    onward = encoder.push(audio[3_333:])
    encoder.restore(kept)
    assert np.array_equal(encoder.push(audio[3_333:]), onward)
    encoder.reset()
    assert np.array_equal(encoder.push(audio[:3_333]), first)

    frames = live.encode(audio)
    decoder = live.decoder_stream(frames.timbre, seed=3)
    begun = decoder.push(frames.codes[:, :9])
    held = decoder.snapshot()
    spoken = decoder.push(frames.codes[:, 9:])
    decoder.restore(held)
    assert np.array_equal(decoder.push(frames.codes[:, 9:]), spoken)
    decoder.reset()
    assert np.array_equal(decoder.push(frames.codes[:, :9]), begun)


def test_lengths_and_types(live: Codec, hello: np.ndarray) -> None:
    audio = hello[:SHORT]
    frames = live.encode(torch.from_numpy(audio))
    assert frames.codes.shape == (6, 31) and frames.codes.dtype == np.int64
    assert frames.timbre.shape == (256,) and frames.timbre.dtype == np.float32
    sound = live.decode(torch.from_numpy(frames.codes), torch.from_numpy(frames.timbre))
    assert sound.shape == (31 * 200,) and sound.dtype == np.float32
    assert live.decode(frames.codes[:, :0], frames.timbre).shape == (0,)
    for layers in (3, 4, 5):
        assert live.decode(frames.codes[:layers], frames.timbre).shape == sound.shape
    assert live.sample_rate == 16_000 and live.hop == 200 and live.latency.total == 400


@pytest.mark.parametrize(
    ("audio", "wanted"),
    [
        (np.zeros(0, dtype=np.float32), "at least one sample"),
        (np.zeros((2, 400), dtype=np.float32), r"\(2, 400\)"),
        (np.full(400, np.nan, dtype=np.float32), "NaN"),
        (np.full(400, 3000.0, dtype=np.float32), "full scale"),
        (np.zeros(400, dtype=np.int16), "int16"),
    ],
)
def test_bad_audio_is_refused_with_a_reason(live: Codec, audio: np.ndarray, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        live.encode(audio)


@pytest.mark.parametrize(
    ("codes", "wanted"),
    [
        (np.zeros(6, dtype=int), r"\(6,\)"),
        (np.zeros((2, 5), dtype=int), "K = 3..6"),
        (np.zeros((7, 5), dtype=int), "K = 3..6"),
        (np.full((6, 5), 1024), "0..1023"),
        (np.full((6, 5), -1), "0..1023"),
        (np.zeros((6, 5)), "integers"),
    ],
)
def test_bad_codes_are_refused_with_a_reason(live: Codec, codes: np.ndarray, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        live.decode(codes, np.zeros(256, dtype=np.float32))


@pytest.mark.parametrize(
    ("timbre", "wanted"), [(np.zeros(255), "255"), (np.full(256, np.inf), "got inf")]
)
def test_bad_timbres_are_refused_with_a_reason(
    live: Codec, timbre: np.ndarray, wanted: str
) -> None:
    with pytest.raises(ValueError, match=wanted):
        live.decoder_stream(timbre)


def test_loading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model 'nowhere'"):
        facodec.load("nowhere")
    with pytest.raises(ValueError, match="ns3_facodec_encoder"):
        facodec.load(tmp_path)
    with pytest.raises(ValueError, match="device 'abacus' cannot be used here"):
        facodec.load("live", device="abacus")


def test_saving_and_loading_live_weights(tmp_path: Path, untrained: Codec) -> None:
    from facodec.bundled.model import LiveModel
    from facodec.bundled.storage import save_live

    assert isinstance(untrained.model, LiveModel)
    save_live(untrained.model, tmp_path)
    again = facodec.load(tmp_path)
    ours, theirs = untrained.model.state_dict(), again.model.state_dict()  # type: ignore[attr-defined]
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-6)
    (tmp_path / "live.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"live\.safetensors is damaged"):
        facodec.load(tmp_path)
    sizes = json.loads((tmp_path / "model.json").read_text())
    del sizes["sha256"]
    (tmp_path / "model.json").write_text(json.dumps(sizes))
    with pytest.raises(ValueError, match=r"live\.safetensors: not a file of plain tensors"):
        facodec.load(tmp_path)


def test_the_bundled_model_is_small_and_documented() -> None:
    from facodec.weights import bundled_path

    assert (bundled_path() / "live.safetensors").stat().st_size <= 10_000_000
    card = (bundled_path() / "README.md").read_text()
    assert "CC BY 4.0" in card and "facodec train" in card


@pytest.mark.parametrize("gain", [-60, -36, -20, -10, 12])
def test_a_recording_at_any_level_is_the_same_voice(
    live: Codec, hello: np.ndarray, reply: np.ndarray, gain: int
) -> None:
    """In dB; louder than full scale, too, as floats can be."""
    scale = np.float32(10 ** (gain / 20))
    for speech in (hello, reply):
        usual, other = live.voice(speech), live.voice(scale * speech)
        assert usual[:-1] @ other[:-1] > 0.999
        assert abs(usual[-1] - other[-1]) < 0.01
    assert live.talkers_alike(scale * np.tile(hello, 2)) == pytest.approx(
        live.talkers_alike(np.tile(hello, 2)), abs=0.01
    )


def test_a_voice_is_enrolled_at_a_usual_level(live: Codec, hello: np.ndarray) -> None:
    at_it = np.float32(10 ** ((NORMAL - speech_level(hello)) / 20)) * hello
    heard = live.model.voice(torch.from_numpy(at_it[: len(hello) // 200 * 200])[None]).numpy()
    assert heard[:-1] @ live.voice(hello)[:-1] > 0.999
