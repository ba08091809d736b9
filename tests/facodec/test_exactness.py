"""The bound of the laws: what rounding does passes it, what a fault does fails it."""

from __future__ import annotations

import numpy as np
import pytest

import facodec
from facodec.codec import Codec
from facodec.config import CODEBOOK_SIZE, HOP
from facodec.quantizer import VectorQuantizer
from tests import exactness
from tests.exactness import (
    POWER,
    assert_equal_audio,
    assert_equal_codes,
    assert_equal_numbers,
    assert_equal_speech,
)


@pytest.fixture(scope="module")
def speech(hello: np.ndarray) -> np.ndarray:
    """2 s of whole hops."""
    return hello[4_000 : 4_000 + 160 * HOP]


@pytest.fixture(scope="module")
def spoken(live: Codec, speech: np.ndarray) -> np.ndarray:
    frames = live.encode(speech)
    return live.decode(frames.codes, frames.timbre)


def noise_like(signal: np.ndarray, decibels: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(signal.shape)
    return noise * np.linalg.norm(signal) / np.linalg.norm(noise) * 10 ** (decibels / 20)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 30.0])
def test_rounding_passes_at_any_level(spoken: np.ndarray, scale: float) -> None:
    """As did the largest error ever seen in a law, a hundred-thousandth of a signal near 1."""
    wanted = scale * spoken
    off = wanted.copy()
    off[[100, 9_000]] += 1.2e-5 * np.abs(wanted).max()
    assert_equal_audio(off, wanted)
    assert_equal_audio(wanted + noise_like(wanted, -90.0), wanted)
    assert_equal_audio(np.zeros(400), np.zeros(400, np.float32))


def faults(live: Codec, speech: np.ndarray, spoken: np.ndarray) -> dict[str, np.ndarray]:
    frames = live.encode(speech)
    codes, timbre = frames.codes, frames.timbre
    swapped = codes.copy()
    swapped[:, [80, 81]] = codes[:, [81, 80]]
    word = codes.copy()
    word[5, 100] = (word[5, 100] + 1) % 1024
    late = live.decoder_stream(timbre)
    late.push(codes[:, 40:80])
    forgotten = np.concatenate((spoken[: 80 * HOP], late.push(codes[:, 80:]), late.flush()))
    fresh = live.decoder_stream(timbre)
    restarted = np.concatenate((spoken[: 80 * HOP], fresh.push(codes[:, 80:]), fresh.flush()))
    return {
        "one sample late": np.roll(spoken, 1),
        "one sample late from the middle on": np.concatenate((spoken[:9_000], spoken[8_999:-1])),
        "an error of -60 dB": spoken + noise_like(spoken, -60.0),
        "a click of -55 dB": spoken + 10 ** (-55 / 20) * np.eye(1, len(spoken), 9_000)[0],
        "half precision": spoken.astype(np.float16),
        "two frames swapped": live.decode(swapped, timbre),
        "one word of detail": live.decode(word, timbre),
        "another seed": live.decode(codes, timbre, seed=1),
        "another timbre": live.decode(codes, timbre * 1.01),
        "a state of other frames": forgotten[: len(spoken)],
        "a state that starts anew": restarted[: len(spoken)],
        "not a number": np.where(np.arange(len(spoken)) == 9_000, np.nan, spoken),
    }


@pytest.mark.law
def test_faults_fail_by_far(live: Codec, speech: np.ndarray, spoken: np.ndarray) -> None:
    for what, sound in faults(live, speech, spoken).items():
        shape = len(spoken) - len(sound)
        error = exactness._error(np.pad(sound, (0, shape)), spoken)
        assert error > 2.0, f"{what}: {error:.3g}"
    with pytest.raises(AssertionError, match="sound off by"):
        assert_equal_audio(np.roll(spoken, 1), spoken)
    with pytest.raises(AssertionError, match="expected sound"):
        assert_equal_audio(spoken[:-1], spoken)


def test_a_state_is_told_from_another(live: Codec, speech: np.ndarray) -> None:
    timbre = live.voice(speech)
    assert_equal_numbers(timbre * (1 + POWER / 2), timbre)
    with pytest.raises(AssertionError, match="off by"):
        assert_equal_numbers(live.voice(speech[200:]), timbre)


@pytest.mark.law
def test_either_of_two_equal_words_may_be_taken(speech: np.ndarray) -> None:
    codec = facodec.load("live", backend="float32")
    layer = next(m for m in codec.model.modules() if isinstance(m, VectorQuantizer))  # type: ignore[attr-defined]
    taken = int(codec.encode(speech).codes[1, 100])
    twin = (taken + 1) % CODEBOOK_SIZE
    layer._codebook.weight.data[twin] = layer._codebook.weight[taken]
    codes = codec.encode(speech).codes
    frame = int(np.flatnonzero(np.isin(codes[1], (taken, twin)))[0])
    assert_equal_codes(codes, codec.model, speech)
    codes[1, frame] = taken + twin - codes[1, frame]
    assert_equal_codes(codes, codec.model, speech)


@pytest.mark.law
def test_other_words_may_not(live: Codec, speech: np.ndarray) -> None:
    codes = live.encode(speech).codes
    assert_equal_codes(codes, live.model, speech)
    for layer in range(6):
        wrong = codes.copy()
        wrong[layer, 100] = (wrong[layer, 100] + 8) % 1024
        with pytest.raises(AssertionError, match=r"words farther by|no choice between words"):
            assert_equal_codes(wrong, live.model, speech)
    with pytest.raises(AssertionError, match=r"words farther by|no choice between words"):
        assert_equal_codes(np.roll(codes, 1, axis=1), live.model, speech)


@pytest.mark.law
def test_speech_may_go_through_either_of_two_equal_words(
    live: Codec, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest tie of this speech is taken to be one."""
    timbre = live.voice(speech)

    def speak() -> np.ndarray:
        return live.decode(live.encode(speech).codes, timbre)

    monkeypatch.setattr(exactness, "TIE", 1e-3)
    with exactness._choosing(frozenset()) as ties:
        wanted = speak()
    nearest = min(ties, key=lambda tie: ties[tie])
    with exactness._choosing(frozenset({nearest})):
        other = speak()
    assert exactness._error(other, wanted) > 1.0
    assert_equal_speech(wanted, speak)
    assert_equal_speech(other, speak)
    monkeypatch.setattr(exactness, "TIE", 0.0)
    with pytest.raises(AssertionError, match="off by"):
        assert_equal_speech(other, speak)
