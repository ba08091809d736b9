"""Each role against the offline codec, on a real model and real speech."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import numpy as np
import pytest

import facodec
from facodec.config import HOP
from facodec.streams.conversion import VOICE_INTERVAL, VOICE_MOVED, has_moved
from streaming.engine.pipeline import Pipeline, plan
from streaming.wire.media import Frames, Media, Sound, Timbre
from streaming.wire.protocol import Hello, ProtocolError
from tests.exactness import (
    assert_equal_audio,
    assert_equal_codes,
    assert_equal_halves,
    assert_equal_numbers,
    assert_equal_speech,
)


def pieces(speech: np.ndarray, seed: int) -> Iterator[Sound]:
    """The speech cut at random, empty and one-sample pieces among them."""
    random = np.random.default_rng(seed)
    start = 0
    while start < len(speech):
        length = int(random.choice([0, 1, 199, 200, 201, 1600, 5000]))
        yield Sound(speech[start : start + length])
        start += length


def run(pipeline: Pipeline, items: Iterator[Media] | list[Media]) -> list[Media]:
    out = [media for item in items for media in pipeline.push(item).media]
    return out + pipeline.flush().media


def sound(media: list[Media]) -> np.ndarray:
    return np.concatenate([item.samples for item in media if isinstance(item, Sound)])


def codes(media: list[Media]) -> np.ndarray:
    return np.concatenate([item.codes for item in media if isinstance(item, Frames)], axis=1)


def timbres(media: list[Media]) -> list[tuple[int, Timbre]]:
    """Each timbre with the number of frames that came before it."""
    found, before = [], 0
    for item in media:
        if isinstance(item, Timbre):
            found.append((before, item))
        before += int(item.frames)
    return found


def start(codec: facodec.Codec, hello: Hello, voice: np.ndarray | None = None) -> Pipeline:
    return plan(hello, codec, voice, enroll=60.0)()


@pytest.fixture(scope="module")
def speech(hello: np.ndarray) -> np.ndarray:
    """2.5 s that end inside a hop."""
    return hello[:40_050]


@pytest.fixture(scope="module")
def voice(live: facodec.Codec, speech: np.ndarray) -> np.ndarray:
    return live.voice(speech)


@pytest.mark.law
@pytest.mark.parametrize("layers", [6, 3])
def test_encode_gives_the_offline_codes(
    live: facodec.Codec, speech: np.ndarray, layers: int
) -> None:
    out = run(start(live, Hello("encode", layers=layers)), pieces(speech, 0))
    assert_equal_codes(codes(out), live.model, speech)


def test_running_voice_does_not_depend_on_the_cuts(live: facodec.Codec, speech: np.ndarray) -> None:
    one = timbres(run(start(live, Hello("encode")), pieces(speech, 1)))
    other = timbres(run(start(live, Hello("encode")), [Sound(speech)]))
    assert [at for at, _ in one] == [at for at, _ in other]
    assert one[0][0] == 0
    for (at, left), (_, right) in zip(one, other, strict=True):
        assert at % VOICE_INTERVAL == 0 and not left.exact
        assert np.array_equal(left.vector, left.vector.astype(np.float16))
        assert_equal_halves(left.vector, right.vector)


def test_running_voice_is_announced_only_where_it_moved(
    live: facodec.Codec, speech: np.ndarray
) -> None:
    vectors = [t.vector for _, t in timbres(run(start(live, Hello("encode")), [Sound(speech)]))]
    assert 1 <= len(vectors) < 0.75 * len(speech) / HOP / VOICE_INTERVAL
    assert all(has_moved(a, b) for a, b in pairwise(vectors))
    far = vectors[-1] * (1 + 1.5 * VOICE_MOVED)
    assert has_moved(vectors[-1], far) and not has_moved(vectors[-1], vectors[-1])


@pytest.mark.law
def test_decode_gives_the_offline_sound(
    live: facodec.Codec, speech: np.ndarray, voice: np.ndarray
) -> None:
    given = live.encode(speech).codes[:4]
    out = run(
        start(live, Hello("decode", seed=3), voice),
        cast("list[Media]", [Frames(given[:, :1]), Frames(given[:, 1:1]), Frames(given[:, 1:])]),
    )
    assert_equal_audio(sound(out), live.decode(given, voice, seed=3))


@pytest.mark.law
def test_loopback_with_a_voice_is_encode_then_decode(
    live: facodec.Codec, speech: np.ndarray, voice: np.ndarray
) -> None:
    out = run(start(live, Hello("loopback"), voice), pieces(speech, 2))
    assert_equal_speech(sound(out), lambda: live.decode(live.encode(speech).codes, voice))


def test_loopback_without_a_voice_speaks_in_the_voices_that_encode_announces(
    live: facodec.Codec, speech: np.ndarray
) -> None:
    out = sound(run(start(live, Hello("loopback")), [Sound(speech)]))
    announced = run(start(live, Hello("encode")), [Sound(speech)])
    decoded = sound(run(start(live, Hello("decode")), announced))
    assert_equal_audio(out, decoded)


@pytest.mark.law
def test_convert_gives_the_offline_conversion(live: facodec.Codec, speech: np.ndarray) -> None:
    target = live.voice(speech[::-1].copy())
    expected = live.convert(speech, target)
    direct = run(start(live, Hello("convert"), target), pieces(speech, 3))
    assert_equal_audio(sound(direct), expected)
    as_codes = run(start(live, Hello("convert", output="codes"), target), pieces(speech, 4))
    assert codes(as_codes).shape[0] == 3
    announced = timbres(as_codes)
    assert announced[0][0] == 0 and all(t.exact for _, t in announced)
    assert all(at % VOICE_INTERVAL == 0 for at, _ in announced)
    assert all(has_moved(a.vector, b.vector) for (_, a), (_, b) in pairwise(announced))
    decoded = run(start(live, Hello("decode")), as_codes)
    assert_equal_audio(sound(decoded), expected)


def test_convert_of_codes_knows_the_talker_from_estimates(
    live: facodec.Codec, speech: np.ndarray, voice: np.ndarray
) -> None:
    target = live.voices["rowan"]
    given = live.encode(speech).codes
    items: list[Media] = [Timbre(voice, exact=False), Frames(given)]
    out = run(start(live, Hello("convert", "codes", "codes"), target), items)
    assert np.array_equal(codes(out), live.convert_codes(given, voice, target))
    ((_, told),) = timbres(out)
    assert np.array_equal(told.vector, live.convert_timbre(voice, target))
    exact: list[Media] = [Timbre(voice, exact=False), Timbre(target, exact=True), Frames(given)]
    swapped = run(start(live, Hello("convert", "codes", "codes"), -target), exact)
    assert np.array_equal(timbres(swapped)[-1][1].vector, told.vector)
    assert np.array_equal(codes(swapped), codes(out))


@pytest.mark.parametrize("pitch", [None, 200.0])
def test_no_frames_convert_to_none(
    live: facodec.Codec, voice: np.ndarray, pitch: float | None
) -> None:
    """Encoders send none with the estimate that ends a stream."""
    pipeline = start(live, Hello("convert", "codes", "codes", pitch=pitch), voice)
    (announced,) = run(pipeline, [Frames(np.zeros((6, 0), np.int64))])
    assert isinstance(announced, Timbre)


@pytest.mark.law
def test_a_voice_can_be_swapped_while_it_speaks(
    live: facodec.Codec, speech: np.ndarray, voice: np.ndarray
) -> None:
    other = -voice
    half = len(speech) // 2 // HOP * HOP
    items: list[Media] = [Sound(speech[:half]), Timbre(other, exact=True), Sound(speech[half:])]
    out = sound(run(start(live, Hello("convert"), voice), items))
    stream = live.converter_stream(voice)
    first = stream.push(speech[:half])
    stream.timbre = other
    expected = np.concatenate([first, stream.push(speech[half:]), stream.flush()])
    assert_equal_audio(out, expected)
    with pytest.raises(AssertionError, match="off by"):
        assert_equal_audio(out, live.convert(speech, voice))


def test_a_given_voice_outranks_estimates(live: facodec.Codec, voice: np.ndarray) -> None:
    frames = Frames(np.zeros((6, 1), np.int64))
    estimate, exact = Timbre(voice / 2, exact=False), Timbre(voice * 2, exact=True)
    items: list[Media] = [estimate, frames, exact, estimate, frames]
    hello = Hello("publish", "codes", room="a")
    with_voice = timbres(run(start(live, hello, voice), items))
    assert [(at, t.exact) for at, t in with_voice] == [(0, True), (1, True)]
    without = timbres(run(start(live, hello), items))
    assert [(at, t.exact) for at, t in without] == [(0, False), (1, True)]


def test_codes_echo(live: facodec.Codec) -> None:
    given = np.arange(12).reshape(6, 2)
    out = run(start(live, Hello("loopback", "codes")), [Frames(given)])
    assert np.array_equal(codes(out), given)


def test_enroll_hears_the_voice(live: facodec.Codec, speech: np.ndarray, voice: np.ndarray) -> None:
    (heard,) = run(start(live, Hello("enroll")), pieces(speech, 5))
    assert isinstance(heard, Timbre) and heard.exact
    assert_equal_numbers(heard.vector, voice)


def test_what_cannot_be_done_is_said(live: facodec.Codec, speech: np.ndarray) -> None:
    with pytest.raises(ProtocolError, match="no-voice"):
        plan(Hello("convert"), live, None, enroll=60.0)
    with pytest.raises(ProtocolError, match="too-long"):
        plan(Hello("enroll"), live, None, enroll=1.0)().push(Sound(speech))
    with pytest.raises(ProtocolError, match="bad-audio"):
        start(live, Hello("enroll")).flush()


def test_time_is_accounted_by_kind(live: facodec.Codec, speech: np.ndarray) -> None:
    result = start(live, Hello("loopback")).push(Sound(speech[:1600]))
    assert result.encode > 0 and result.decode > 0
    assert start(live, Hello("encode")).push(Sound(speech[:1600])).decode == 0
