"""Voices that come with the model: by name, swapped in mid-stream, told apart."""

from __future__ import annotations

import numpy as np

from facodec.codec import Codec
from facodec.config import HOP, TIMBRE_DIM
from facodec.training.metrics import clicks
from facodec.training.pitch import track_pitch
from facodec.weights import bundled_path
from facodec.weights.timbres import voice_notes


def test_every_noted_voice_is_there_with_its_source(live: Codec) -> None:
    notes = voice_notes(bundled_path())
    assert set(live.voices) == set(notes) and len(notes) >= 4
    for name, about in notes.items():
        assert live.voices[name].shape == (TIMBRE_DIM,) and np.isfinite(live.voices[name]).all()
        assert about["licence"] in ("CC0 1.0", "CC BY 4.0") and about["attribution"], name
    card = (bundled_path() / "README.md").read_text()
    assert all(f"`{name}`" in card for name in notes)


def test_conversion_by_name_moves_the_pitch_to_that_voice(live: Codec, hello: np.ndarray) -> None:
    medians = {}
    for name, voice in live.voices.items():
        track = track_pitch(live.convert(hello, voice)[: len(hello) // HOP * HOP])
        medians[name] = float(np.median(track[track > 0]))
        wanted = 150.0 * 2.0 ** float(voice[-1])
        assert abs(medians[name] / wanted - 1.0) < 0.15, (name, medians[name], wanted)
    assert max(medians.values()) > 1.4 * min(medians.values())


def test_voices_swapped_mid_stream_do_not_click(live: Codec, hello: np.ndarray) -> None:
    """Every half second another voice; compared with conversions that stay in one."""
    voices = list(live.voices.values())
    stream, parts = live.converter_stream(voices[0]), []
    for number, start in enumerate(range(0, len(hello), 40 * HOP)):
        stream.timbre = voices[number % len(voices)]
        parts.append(stream.push(hello[start : start + 40 * HOP]))
    swapped = np.concatenate((*parts, stream.flush()))
    for name, voice in live.voices.items():
        assert clicks(live.convert(hello, voice), swapped) == 0, name
