"""The sound of recordings: a part is that of the whole, gaps and losses are silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clients.offline.playback import Part, sound_of
from facodec.bundled.model import LiveModel
from facodec.codec import Codec
from facodec.config import Ns3Config
from facodec.published.model import Ns3Model
from facodec.recording.blocks import Header
from facodec.recording.reading import Recording
from facodec.recording.scan import Lost
from facodec.recording.writing import RecordingFile
from tests.exactness import assert_equal_audio
from tests.facodec.bundled.test_estimates import vowel

Speak = Callable[..., np.ndarray]
told: list[Lost] = []


def speak(path: Path, codec: Codec, **part: object) -> np.ndarray:
    told.clear()
    with Recording(path) as recording:
        pieces = sound_of(path, recording, codec, Part(**part), told.append)  # type: ignore[arg-type]
        return np.concatenate([np.zeros(0, np.float32), *pieces])


@pytest.fixture(scope="module")
def talk(
    live: Codec, hello: np.ndarray, reply: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """26 s of two people in one stretch, whose voices follow each other, a gap, and one again."""
    path = tmp_path_factory.mktemp("talk") / "talk.fac"
    theirs = [live.encode(hello), live.encode(reply)]
    with RecordingFile(path, Header(live.identity)) as file:
        for frames in theirs * 2:
            file.voice(frames.timbre, exact=True)
            file.push(frames.codes)
        file.voice(theirs[0].timbre, exact=False)
        file.push(theirs[0].codes, file.position + 12_345)
    return path


@pytest.fixture(scope="module")
def whole(talk: Path, live: Codec) -> np.ndarray:
    return speak(talk, live)


def test_the_whole_is_what_the_codec_says(
    talk: Path, whole: np.ndarray, live: Codec, hello: np.ndarray
) -> None:
    frames = live.encode(hello)
    estimate = frames.timbre.astype(np.float16).astype(np.float32)
    last = live.decode(frames.codes, estimate)
    assert_equal_audio(whole[-len(last) :], last)
    assert not whole[-len(last) - 12_345 : -len(last)].any()
    assert np.abs(whole[-len(last) - 12_345 - 48_000 : -len(last) - 12_345]).max() > 0.01


@pytest.mark.parametrize(("start", "end"), [(16.3, 18.0), (20.01, 26.6), (27.5, None)])
def test_a_part_is_a_slice_of_the_whole(
    start: float, end: float | None, talk: Path, whole: np.ndarray, live: Codec
) -> None:
    a, b = int(start * 16_000), None if end is None else int(end * 16_000)
    found = speak(talk, live, start=a, end=b)
    assert_equal_audio(found, whole[a:b])
    assert not told


def test_a_part_of_fewer_layers(talk: Path, live: Codec) -> None:
    few = speak(talk, live, layers=3)
    assert_equal_audio(speak(talk, live, layers=3, start=320_000), few[320_000:])


@pytest.mark.parametrize(("layers", "remembered"), [(6, 13), (3, 62)])
def test_a_long_stretch_is_gone_past_in_no_time(
    layers: int,
    remembered: int,
    live: Codec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever comes before, the decoder is given a few seconds of it. Notes have gains, which
    depend on what was heard: a loud one first, then quiet ones."""
    path = tmp_path / "long.fac"
    note = vowel(440, 2.0)
    loud, quiet = live.encode(note), live.encode(0.1 * note)
    start = 2 * (remembered // 2) + 9
    with RecordingFile(path, Header(live.identity)) as file:
        file.voice(loud.timbre, exact=True)
        for part in [loud.codes] * 3 + [quiet.codes] * (start // 2 + 3):
            file.push(part[:layers])
    begin, end = start * 16_000, (start + 1) * 16_000
    wanted = speak(path, live, end=end)[begin:]
    given: list[int] = []
    push = type(live.decoder_stream(loud.timbre)).push

    def counted(self: object, codes: np.ndarray) -> np.ndarray:
        given.append(codes.shape[1])
        return push(self, codes)  # type: ignore[arg-type]

    monkeypatch.setattr("facodec.codec.DecoderStream.push", counted)
    assert_equal_audio(speak(path, live, start=begin, end=end), wanted)
    assert sum(given) <= (remembered + 3) * 80
    if layers == 6:
        rest = speak(path, live, start=begin)
        assert_equal_audio(rest[:16_000], wanted)
        assert len(rest) > 4 * 16_000


def test_a_part_with_the_structure_of_the_published_model(tmp_path: Path) -> None:
    codec = Codec(Ns3Model(Ns3Config.small()))
    path = tmp_path / "a.fac"
    codes = np.random.default_rng(0).integers(0, 1024, (6, 700))
    with RecordingFile(path, Header(codec.identity)) as file:
        file.voice(np.full(256, 0.1, np.float32), exact=True)
        file.push(codes)
    whole = speak(path, codec)
    assert len(whole) == 700 * 200
    assert_equal_audio(speak(path, codec, start=100_100, end=120_000), whole[100_100:120_000])


def test_a_model_that_cannot_skip(
    talk: Path, whole: np.ndarray, live: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveModel, "decoder_memory", None)
    assert_equal_audio(speak(talk, live, start=100_000, end=110_000), whole[100_000:110_000])
    with pytest.raises(ValueError, match="cannot be skipped"):
        live.decoder_stream(np.zeros(256, np.float32)).skip(np.zeros((6, 1), np.int64))


def test_what_is_damaged_is_silence_and_told(
    talk: Path, whole: np.ndarray, live: Codec, tmp_path: Path
) -> None:
    path, data = tmp_path / "a.fac", bytearray(talk.read_bytes())
    data[8_000] ^= 16
    path.write_bytes(data)
    found = speak(path, live)
    (lost,) = told
    assert not lost.cut and lost.end is not None and len(found) == len(whole)
    assert not found[lost.start : lost.end].any() and np.abs(found[lost.end :]).max() > 0.01
    before = lost.start - 400
    assert_equal_audio(found[:before], whole[:before])
    path.write_bytes(data[:-3_000])
    cut = speak(path, live)
    assert len(told) == 2 and told[1].cut
    assert len(cut) == told[1].start - 12_345, "what was lost would have begun after the gap"


def test_another_voice_and_no_voice_at_all(talk: Path, live: Codec, tmp_path: Path) -> None:
    voice = np.asarray(next(iter(live.voices.values())))
    frames = np.zeros((6, 200), np.int64)
    with RecordingFile(tmp_path / "a.fac", Header(live.identity)) as file:
        file.push(frames)
    wanted = live.decode(frames, np.zeros(256, np.float32), seed=7)
    assert_equal_audio(speak(tmp_path / "a.fac", live, seed=7), wanted)
    part = speak(talk, live, voice=voice, end=16_000)
    other = speak(talk, live, end=16_000)
    assert len(part) == len(other) == 16_000 and not np.allclose(part, other, atol=1e-3)
