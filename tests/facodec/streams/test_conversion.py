"""The timbre that conversions are decoded with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from facodec.bundled.talker import STRANGER
from facodec.codec import Codec
from facodec.config import TIMBRE_DIM
from facodec.streams.conversion import VOICE_INTERVAL, ConvertedVoice, has_moved
from tests.conftest import ROOT
from tests.exactness import assert_equal_audio, assert_equal_numbers


def timbre(seed: int) -> np.ndarray:
    """A timbre as the bundled model makes them: 255 numbers of length 1, and a pitch."""
    vector = np.random.default_rng(seed).standard_normal(TIMBRE_DIM).astype(np.float32)
    vector[:-1] /= np.linalg.norm(vector[:-1])
    return vector


def push(source: np.ndarray | None, target: np.ndarray) -> np.ndarray:
    """A rule that is easy to follow: the target, and the source taken away."""
    return np.float32(target) if source is None else np.float32(target - source)


def test_the_page_takes_the_same_voices_for_strangers() -> None:
    page = (ROOT / "clients" / "web" / "conversion.js").read_text()
    assert f"const STRANGER = {STRANGER};" in page


def test_the_target_is_pushed_away_from_the_source(live: Codec) -> None:
    source, target = timbre(0), timbre(1)
    steered = live.convert_timbre(source, target)
    assert steered[-1] == target[-1]
    assert np.linalg.norm(steered[:-1]) == pytest.approx(1.0, abs=1e-5)
    assert steered[:-1] @ source[:-1] < target[:-1] @ source[:-1] - 0.1
    assert steered[:-1] @ target[:-1] > 0.8
    assert np.array_equal(live.convert_timbre(None, target), target)
    assert_equal_numbers(live.convert_timbre(target, target), target)


def test_a_source_is_looked_at_every_few_frames_and_taken_where_it_moved() -> None:
    voice, source = ConvertedVoice(push, timbre(1)), timbre(0)
    voice.follow(source, 1)
    first = voice.vector
    assert np.array_equal(first, timbre(1) - source)
    for _ in range(VOICE_INTERVAL - 1):
        voice.follow(timbre(2), 1)
        assert voice.vector is first  # not looked at
    voice.follow(1.01 * source, 1)
    assert voice.vector is first  # not moved
    voice.follow(timbre(2), VOICE_INTERVAL - 1)
    voice.follow(timbre(2), 1)
    assert np.array_equal(voice.vector, timbre(1) - timbre(2))


def test_another_target_counts_at_once() -> None:
    voice = ConvertedVoice(push, timbre(1))
    assert np.array_equal(voice.vector, timbre(1))
    voice.hear(timbre(0))
    voice.aim(timbre(3))
    assert np.array_equal(voice.target, timbre(3))
    assert np.array_equal(voice.vector, timbre(3) - timbre(0))


@pytest.mark.law
def test_converted_frames_say_how_they_are_spoken(live: Codec, hello: np.ndarray) -> None:
    target = timbre(1)
    stream, decoder = live.converter_stream(target), live.decoder_stream(target)
    frames = stream.push_frames(hello)
    assert all(has_moved(a.timbre, b.timbre) for a, b in pairwise(frames)) and len(frames) > 1
    spoken = []
    for part in (*frames, *stream.flush_frames()):
        decoder.timbre = part.timbre
        spoken.append(decoder.push(part.codes))
    spoken.append(decoder.flush())
    assert_equal_audio(np.concatenate(spoken), live.convert(hello, target))


def test_how_far_it_is_pushed_can_be_chosen(live: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = timbre(0), timbre(1)
    shares = (0.0, 0.3, 1.0)
    nearness = []
    for share in shares:
        monkeypatch.setattr(live.model, "steer", share)
        nearness.append(float(live.convert_timbre(source, target)[:-1] @ source[:-1]))
    assert nearness[0] == pytest.approx(float(target[:-1] @ source[:-1]), abs=1e-5)
    assert nearness[0] > nearness[1] > nearness[2]
