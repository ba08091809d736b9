"""Equal error rates: exact on small cases, and on embeddings that are known to tell or not to."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.speech.reidentify import (
    MOST_PIECES,
    PIECE_SECONDS,
    cut_pieces,
    equal_error_rate,
    judge_trials,
)
from benchmarks.speech.speakers import Utterance
from facodec.config import SAMPLE_RATE

SPEAKERS, PIECES, SIZE = 10, 3, 16


@pytest.mark.parametrize(
    ("same", "other", "rate"),
    [
        ([2, 3], [0, 1], 0.0),
        ([1, 1], [1, 1], 0.5),
        ([0], [1], 1.0),
        ([1, 3], [0, 2], 0.5),
        ([1, 2, 3, 4], [0, 1.5], 0.25),
        ([2, 3, 4, 5], [0, 1, 2.5, 1], 0.25),
    ],
)
def test_small_cases_are_exact(same: list[float], other: list[float], rate: float) -> None:
    assert equal_error_rate(np.float32(same), np.float32(other)) == pytest.approx(rate)


def test_scores_of_one_distribution_are_guessing() -> None:
    rng = np.random.default_rng(0)
    same, other = rng.standard_normal((2, 4000)).astype(np.float32)
    assert equal_error_rate(same, other) == pytest.approx(0.5, abs=0.02)
    # Normal scores whose means are d apart: the rate is that of a normal beyond d / 2.
    assert equal_error_rate(same + 2, other) == pytest.approx(0.1587, abs=0.015)


def test_embeddings_that_tell_and_those_that_do_not() -> None:
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(SPEAKERS), PIECES)
    centres = np.eye(SPEAKERS, SIZE, dtype=np.float32)[owners]
    strangers = _unit(rng.standard_normal((len(owners), SIZE)))
    names = np.array([f"s{number}" for number in owners])
    told = judge_trials(list(centres), list(centres), names)
    assert told["speakers"] == SPEAKERS and told["same"] == SPEAKERS * PIECES * (PIECES - 1)
    assert told["other"] == len(owners) * (len(owners) - PIECES)
    assert told["eer"] == told["low"] == told["high"] == 0.0
    guessed = judge_trials(list(centres), list(strangers), names)
    assert guessed["low"] <= guessed["eer"] <= guessed["high"]
    assert guessed["low"] < 0.5 < guessed["high"]


def test_one_speaker_or_one_piece_each_is_refused() -> None:
    voices = list(_unit(np.eye(4, SIZE)))
    for names in (["a"] * 4, ["a", "b", "c", "d"]):
        with pytest.raises(ValueError, match="two speakers or more"):
            judge_trials(voices, voices, np.array(names))


def test_long_utterances_are_cut_and_lone_pieces_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = {"a": [10 * PIECE_SECONDS], "b": [PIECE_SECONDS], "c": [PIECE_SECONDS] * 2}
    told = [Utterance(path, name) for name, own in seconds.items() for path in own]  # type: ignore[arg-type]
    monkeypatch.setattr(
        "benchmarks.speech.reidentify.read_speech",
        lambda path: np.zeros(int(path * SAMPLE_RATE), np.float32),
    )
    pieces = cut_pieces(told)
    assert [piece.speaker for piece in pieces] == ["a"] * MOST_PIECES + ["c"] * 2
    assert {len(piece.audio) for piece in pieces} == {int(PIECE_SECONDS * SAMPLE_RATE)}


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
