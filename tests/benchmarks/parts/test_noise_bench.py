"""Measures of noise say what is known of known sounds."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.parts import noise
from benchmarks.registry import parse
from facodec.codec import Codec


def test_a_buzz_is_periodic_and_noise_is_not() -> None:
    time, random = np.arange(32_000) / 16_000, np.random.default_rng(0)
    rough = random.standard_normal(32_000).astype(np.float32)
    buzz = np.sign(np.sin(2 * np.pi * 125 * time)).astype(np.float32)
    assert noise.periodicity(rough) < 0.3 < 0.9 < noise.periodicity(buzz) < 1.1


def test_noise_is_mixed_as_far_below_speech_as_asked(hello: np.ndarray) -> None:
    sound = np.random.default_rng(0).standard_normal(len(hello)).astype(np.float32)
    rest = noise.mix(hello, sound, 10.0) - hello
    assert 10 * np.log10(np.mean(hello**2) / np.mean(rest**2)) == pytest.approx(10.0, abs=0.01)


def test_a_codec_that_changes_nothing_changes_nothing(
    live: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Frames:
        def __init__(self, audio: np.ndarray) -> None:
            self.codes, self.timbre = audio, None

    monkeypatch.setattr(live, "encode", Frames)
    monkeypatch.setattr(live, "decode", lambda codes, timbre: codes)
    row = noise.noise_alone(live, "pink", seed=0)
    assert row["change_db"] == pytest.approx(0.0, abs=0.01) and row["peak_in"] == row["peak_out"]


def test_silence_stays_silent_in_every_voice(live: Codec) -> None:
    rows = noise.silence(live)
    assert [row["voice"] for row in rows] == list(live.voices)
    assert max(row["peak_dbfs"] for row in rows) < -50


@pytest.mark.usefixtures("bench_tools")
def test_words_are_told_by_way_and_noise(live: Codec) -> None:
    heard = noise.words(live, 1, seed=0)
    assert {"as it is", "live", "live, converted"} <= set(heard)
    assert set(heard["live"]) == {"none", "white", "pink", "fan", "babble"}
    assert heard["as it is"]["none"] < 0.2
    told = noise.tables({"words": heard, "silence": [], "alone": []})
    assert told[0].columns[1] == "without noise"


def test_the_options_have_their_defaults() -> None:
    args = parse("noise", [])
    assert (args.model, args.data, args.pairs, args.seed) == ("live", None, 40, 0)
