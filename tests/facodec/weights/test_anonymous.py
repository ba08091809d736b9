"""Voices of nobody: how they are drawn, what they keep clear of, and where they may be named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facodec.codec import Codec
from facodec.identity import ModelIdentity, model_of
from facodec.names import anonymous_seed, is_anonymous, is_name, with_seed
from facodec.reasons import FileError
from facodec.weights.speakers import (
    FAR,
    FEWEST,
    LIKENESS,
    PITCH_EDGE,
    VECTORS,
    Speakers,
    load_speakers,
    save_speakers,
)

DRAWN = 100
LIVE = ModelIdentity("live", "0" * 12)


@pytest.fixture(scope="module")
def speakers(live: Codec) -> Speakers:
    assert live.speakers is not None
    return live.speakers


@pytest.fixture(scope="module")
def drawn(live: Codec) -> list[np.ndarray]:
    return [live.anonymous_voice(seed=seed) for seed in range(DRAWN)]


def test_voices_have_the_form_of_a_timbre(live: Codec, drawn: list[np.ndarray]) -> None:
    for voice in drawn:
        assert voice.shape == (256,) and voice.dtype == np.float32
        assert abs(np.linalg.norm(voice[:-1]) - 1.0) < 1e-5
        assert model_of(voice) == live.identity


def test_voices_are_neither_speakers_nor_bundled_nor_each_other(
    live: Codec, drawn: list[np.ndarray], speakers: Speakers
) -> None:
    bundled = list(live.voices.values())
    assert max(speakers.likeness(voice, bundled) for voice in drawn) < LIKENESS
    learned = np.stack([voice[:-1] for voice in drawn])
    assert (learned @ learned.T)[np.triu_indices(DRAWN, 1)].max() < 0.9


def test_voices_are_spread_over_pitches_of_both_kinds(
    drawn: list[np.ndarray], speakers: Speakers
) -> None:
    pitches = np.array([voice[-1] for voice in drawn])
    told = speakers.coordinates[:, -1]
    assert told.min() <= pitches.min() and pitches.max() <= told.max()
    lowest, highest = np.percentile(told, (2 * PITCH_EDGE, 100 - 2 * PITCH_EDGE))
    assert pitches.min() < lowest + 0.3 and pitches.max() > highest - 0.3


def test_a_voice_is_far_from_the_talker(live: Codec, speakers: Speakers) -> None:
    for talker in live.voices.values():
        for seed in range(5):
            voice = live.anonymous_voice(talker, seed)
            assert float(voice[:-1] @ talker[:-1]) < FAR


def test_a_seed_gives_its_voice_again_and_none_a_fresh_one(live: Codec) -> None:
    np.testing.assert_array_equal(live.anonymous_voice(seed=7), live.anonymous_voice(seed=7))
    assert np.abs(live.anonymous_voice() - live.anonymous_voice()).max() > 0.01


def test_weights_that_tell_of_no_speakers_say_so(untrained: Codec) -> None:
    with pytest.raises(ValueError, match="tell of no speakers"):
        untrained.anonymous_voice()


def test_few_speakers_are_no_distribution() -> None:
    with pytest.raises(ValueError, match=f"expected {FEWEST} speakers or more, got 3"):
        Speakers.of([np.zeros(256, np.float32)] * 3)


def test_a_distribution_is_written_and_read(speakers: Speakers, tmp_path: Path) -> None:
    save_speakers(tmp_path, speakers, LIVE)
    again = load_speakers(tmp_path, LIVE)
    assert again is not None
    np.testing.assert_array_equal(again.coordinates, speakers.coordinates)
    with pytest.raises(FileError, match="its speakers were made with model"):
        load_speakers(tmp_path, ModelIdentity("live", "1" * 12))


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, b"\x02" + bytes(7) + b"{}"])
def test_a_damaged_distribution_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / VECTORS).write_bytes(data)
    with pytest.raises(FileError, match="cannot read speakers from"):
        load_speakers(tmp_path, LIVE)


def test_numbers_that_are_none_are_refused(speakers: Speakers, tmp_path: Path) -> None:
    broken = Speakers(np.full(255, np.nan), speakers.axes, speakers.coordinates)
    save_speakers(tmp_path, broken, LIVE)
    with pytest.raises(FileError, match="finite numbers in 'mean'"):
        load_speakers(tmp_path, LIVE)
    save_speakers(tmp_path, Speakers(speakers.mean, speakers.axes[:-1], speakers.coordinates), LIVE)
    with pytest.raises(FileError, match="expected a mean"):
        load_speakers(tmp_path, LIVE)


def test_names_of_voices_of_nobody() -> None:
    assert is_anonymous("anonymous") and is_anonymous("anonymous.12")
    assert not any(
        map(is_anonymous, ("anonymous.", "anonymous.x", "anonymous2", "anna", None, b""))
    )
    assert anonymous_seed("anonymous") is None and anonymous_seed("anonymous.12") == 12
    fresh = with_seed("anonymous")
    assert is_name(fresh) and anonymous_seed(fresh) is not None and fresh != with_seed("anonymous")
    assert with_seed("anonymous.12") == "anonymous.12"
