"""The measures say what is known about known changes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.parts.quality import COLUMNS, table
from benchmarks.peers.tools import Transmit, align
from benchmarks.speech.opinion import opinion
from facodec.training.metrics import (
    clicks,
    level_change,
    log_mel_distance,
    noise_floor_change,
    pitch_agreement,
    quality,
)

pytestmark = pytest.mark.usefixtures("bench_tools")


def test_a_perfect_copy_is_perfect(hello: np.ndarray) -> None:
    row = quality(hello, hello)
    assert row["pesq"] > 4.5 and row["stoi"] > 0.999 and row["log_mel"] == 0.0


def test_noise_makes_everything_worse(hello: np.ndarray) -> None:
    noise = np.random.default_rng(0).standard_normal(len(hello)).astype(np.float32)
    little, much = (quality(hello, hello + a * noise) for a in (0.002, 0.05))
    assert much["pesq"] < little["pesq"] and much["stoi"] < little["stoi"]
    assert much["log_mel"] > little["log_mel"] > 0


def test_half_the_amplitude_is_6_db_less(hello: np.ndarray) -> None:
    assert abs(level_change(hello, hello / 2) + 6.02) < 0.01
    loud = np.abs(hello) + 0.1  # far above the floor of the mels
    assert abs(log_mel_distance(loud, loud / 10) - 1.0) < 0.4


def test_clicks_are_counted_and_a_perfect_copy_has_none(hello: np.ndarray) -> None:
    assert clicks(hello, hello) == 0 and clicks(hello, hello / 3) == 0
    clicked = hello.copy()
    places = np.arange(4_000, len(hello), 6_000)
    clicked[places] += 0.5
    assert clicks(hello, clicked) >= 0.7 * len(places)
    assert clicks(clicked, hello) == 0


def test_hiss_raises_the_noise_floor_and_silence_has_a_lowest_level(hello: np.ndarray) -> None:
    quiet = np.concatenate((hello, np.zeros(len(hello) // 2, dtype=np.float32)))
    noise = np.random.default_rng(0).standard_normal(len(quiet)).astype(np.float32)
    assert noise_floor_change(quiet, quiet + 1e-6 * noise) == 0.0
    assert abs(noise_floor_change(quiet, quiet + 1e-3 * noise) - 20.0) < 1.0


def test_pitch_errors_are_counted() -> None:
    reference = np.array([0, 0, 100, 100, 100, 100], dtype=np.float32)
    decoded = np.array([0, 90, 100, 0, 150, 110], dtype=np.float32)
    errors = pitch_agreement(reference, decoded)
    assert errors["voicing_error"] == 2 / 6 and abs(errors["gross_pitch_error"] - 1 / 3) < 1e-6


def test_alignment_undoes_a_delay(hello: np.ndarray) -> None:
    for delay in (-120, 0, 777):
        moved = np.roll(hello, delay)
        np.testing.assert_array_equal(align(hello, moved)[1_000:-1_000], hello[1_000:-1_000])


def test_peers_give_back_speech_of_the_same_length(
    hello: np.ndarray, peers: dict[str, tuple[float, Transmit]]
) -> None:
    for name, (rate, transmit) in peers.items():
        decoded = transmit(hello)
        assert decoded.shape == hello.shape, name
        assert rate > 0 and np.corrcoef(decoded, hello)[0, 1] > 0.1, name


def test_the_table_has_a_line_per_codec() -> None:
    row = dict.fromkeys(COLUMNS, 0.5)
    lines = table({"a": row, "b": row}).splitlines()
    assert len(lines) == 4 and lines[2].startswith("| a | 0.5 | 0.50 | 0.500 |")


def test_opinion_is_lower_of_noisy_speech(hello: np.ndarray) -> None:
    noise = np.random.default_rng(0).standard_normal(len(hello)).astype(np.float32)
    assert 1.0 < opinion(hello + 0.05 * noise) < opinion(hello) - 0.3 < 5.0


def test_silence_is_no_speech_to_judge() -> None:
    pytest.importorskip("pesq")
    silence = np.zeros(16_000, np.float32)
    with pytest.raises(ValueError, match="expected speech that PESQ hears"):
        quality(silence, silence)
