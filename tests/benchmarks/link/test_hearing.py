"""Figures of what was heard, of sounds whose delays, gaps and words are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.link import hearing
from benchmarks.link.hearing import Heard
from benchmarks.link.speech import Sentence
from facodec.config import SAMPLE_RATE

SECONDS = 8


def talk(seconds: float = SECONDS) -> np.ndarray:
    """Noise that is nowhere like itself elsewhere."""
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * SAMPLE_RATE))
    return noise.astype(np.float32)


def ear(reference: np.ndarray, parts: list[tuple[float, float, float]]) -> Heard:
    """An ear that began 1 s early. ``parts``: (from, to) of the talk, s, and their delay."""
    sound = np.zeros(int((SECONDS + 4) * SAMPLE_RATE), np.float32)
    for begin, end, delay in parts:
        piece = reference[int(begin * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        at = int((begin + delay + 1) * SAMPLE_RATE)
        sound[at : at + len(piece)] = piece
    return Heard(sound, -1.0, np.arange(0, SECONDS, 0.05))


def test_delays_are_found_to_the_sample() -> None:
    reference = talk()
    points = hearing.delays(reference, ear(reference, [(0, 4, 0.1), (4, 8, 0.6)]))
    said = points[:, 0] - points[:, 1]
    assert points[said < 3.7, 1] == pytest.approx(0.1)
    assert points[said > 4.1, 1] == pytest.approx(0.6)
    assert len(points) > 70


def test_a_window_that_is_alike_elsewhere_by_chance_does_not_count() -> None:
    times = np.arange(8.0)
    delay = np.array([0.1, 0.1, 4.4, 0.12, 0.1, 0.9, 0.9, 0.1])
    kept = hearing._without_strays(np.stack((times, delay), axis=1))
    assert kept[:, 1].tolist() == [0.1, 0.1, 0.12, 0.1, 0.9, 0.9, 0.1]
    assert len(hearing._without_strays(np.zeros((1, 2)))) == 1
    near = np.array([0.13, 0.13, 0.25, 0.13, 0.18, 0.23, 0.2])  # a vowel's next period; a rise
    kept = hearing._without_strays(np.stack((times[:7], near), axis=1))
    assert kept[:, 1].tolist() == [0.13, 0.13, 0.13, 0.18, 0.23, 0.2]


def test_what_was_not_heard_has_no_delay() -> None:
    reference = talk()
    heard = ear(reference, [(0, 3, 0.1), (5, 8, 0.1)])
    points = hearing.delays(reference, heard)
    said = points[:, 0] - points[:, 1]
    assert not ((said > 3) & (said < 4.7)).any()
    assert hearing.silence(reference, heard, 0.1) == pytest.approx(2.0, abs=0.05)


def test_after_an_outage_it_is_live_when_no_later_window_is_late() -> None:
    reference = talk()
    heard = ear(reference, [(0, 2, 0.1), (3.5, 4.5, 0.6), (5, 8, 0.12)])
    found, points = hearing.figures(reference, heard, [(2.0, 4.0)])
    assert found["base_ms"] == pytest.approx(100 if not found["stalls"] else 120, abs=21)
    assert 0.8 < hearing.live_again(points, [(2.0, 4.0)], 0.1)[0] < 1.2
    never = hearing.live_again(points[points[:, 0] < 5], [(2.0, 4.0)], 0.1)
    assert never[0] > 0.7


def test_stalls_are_gaps_among_packets_and_lateness_counts_a_second_after_them() -> None:
    arrivals = np.array([0.1, 0.2, 0.3, 1.0, 1.1, 1.2, 9.0])
    assert hearing.stalls(arrivals, 8.0) == [(0.3, 1.0)]
    points = np.array([[0.2, 0.1], [1.2, 0.6], [1.9, 0.5], [2.1, 0.13], [3.0, 0.11]])
    late = hearing.late_after_stalls(points, [(0.3, 1.0)], 0.1)
    assert late == pytest.approx(0.03)
    assert hearing.late_after_stalls(points, [], 0.1) is None


def test_words_are_counted_where_they_were_heard() -> None:
    reference = talk()
    sentences = [
        Sentence(["one", "two"], 1 * SAMPLE_RATE, 2 * SAMPLE_RATE),
        Sentence(["three"], 5 * SAMPLE_RATE, 6 * SAMPLE_RATE),
    ]
    heard = ear(reference, [(0, 3, 0.2)])
    points = hearing.delays(reference, heard)
    lengths: list[int] = []

    def hear(audio: np.ndarray) -> list[str]:
        lengths.append(len(audio))
        return ["one", "too"]

    assert hearing.wrong_words(sentences, heard, points, hear) == 2
    assert lengths == [pytest.approx((1 + 0.45) * SAMPLE_RATE, abs=2)]


def test_nothing_heard_says_so() -> None:
    reference = talk()
    with pytest.raises(ValueError, match="nothing was heard"):
        hearing.figures(reference, ear(reference, []), [])
