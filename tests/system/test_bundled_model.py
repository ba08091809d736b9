"""Promises of the bundled model, on real speech of speakers it never heard.

A part of what ``facodec bench quality`` and ``facodec bench voice`` measure in full.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.parts.quality import measure
from benchmarks.speech.clips import clips
from benchmarks.speech.conversion import CONVERTED, convert_pair, judge_pair, summarise
from benchmarks.speech.leakage import measure_prosody
from benchmarks.speech.speakers import find_utterances, make_pairs, read
from benchmarks.speech.words import POCKETSPHINX, SENTENCES, Pocketsphinx, Target, measure_words
from facodec.codec import Codec
from facodec.config import HOP

pytestmark = pytest.mark.usefixtures("bench_tools")
PAIRS = 16


def test_quality_and_the_ladder(live: Codec, speech_folder: Path) -> None:
    rows = measure(live, clips(speech_folder, 10), ladder=True)
    full, lowest = rows["live 4.8"], rows["live 2.4"]
    assert full["stoi"] >= 0.87 and full["estoi"] >= 0.75 and full["log_mel"] <= 0.29, full
    assert full["pesq"] >= 2.05, full  # 2.27 over the whole folder
    assert abs(full["level_db"]) <= 1.0 and full["floor_db"] <= 3.0 and full["clicks"] == 0, full
    assert lowest["stoi"] >= 0.78, lowest  # 0.82 over the whole folder
    assert [row["stoi"] for row in rows.values()] == sorted(
        (row["stoi"] for row in rows.values()), reverse=True
    )


def test_conversion_sounds_like_the_target(live: Codec, speech_folder: Path) -> None:
    rows = []
    for pair in make_pairs(find_utterances(speech_folder), PAIRS, seed=1):
        reference = read(pair.reference)
        made = convert_pair(live, read([pair.source]), reference)
        rows.append(judge_pair(pair, made, reference).rows[CONVERTED])
    row = summarise(rows)
    assert row["to_target"] >= 0.65 and row["closer"] >= 0.7, row  # 0.83 of 60 pairs
    assert row["pitch_within"] >= 14 / 16, row  # 0.97 of 60 other pairs


@pytest.mark.usefixtures("word_tools")
def test_conversion_keeps_the_words(live: Codec, speech_folder: Path) -> None:
    pairs = make_pairs(find_utterances(speech_folder), 6, seed=0)
    targets = [Target(live.voice(read(pair.reference))) for pair in pairs]
    heard = measure_words(live, targets, {POCKETSPHINX: Pocketsphinx()}, SENTENCES[:6])
    errors = heard[POCKETSPHINX]
    assert errors["codec"] <= 0.12, errors
    assert errors["converted"] <= errors["codec"] + 0.15, errors  # 0.10 over all sentences


def test_prosody_codes_carry_the_pitch(live: Codec, speech_folder: Path) -> None:
    row = measure_prosody(live, [audio for _, audio in clips(speech_folder, 10)])
    assert row is not None
    assert row["voicing_error"] <= 0.12 and row["gross_pitch_error"] <= 0.10, row


def test_silence_stays_silent(live: Codec) -> None:
    silence = np.zeros(160 * HOP, dtype=np.float32)
    frames = live.encode(silence)
    decoded = live.decode(frames.codes, frames.timbre)
    assert float(np.abs(decoded).max()) < 1e-3
    hiss = np.random.default_rng(0).standard_normal(len(silence)).astype(np.float32) * 1e-3
    frames = live.encode(hiss)
    decoded = live.decode(frames.codes, frames.timbre)
    assert 10 * np.log10(np.square(decoded).mean() / np.square(hiss).mean()) <= 3.0
