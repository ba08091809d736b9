"""Voices that come with the model: by name, swapped in mid-stream, told apart."""

from __future__ import annotations

import numpy as np

from facodec.codec import Codec
from facodec.config import HOP, TIMBRE_DIM
from facodec.training.metrics import clicks
from facodec.training.pitch import track_pitch
from facodec.weights import bundled_path
from facodec.weights.timbres import voice_notes

WOMEN_ABOVE = 160.0
"""Hz that parts the bundled women from the men."""


def test_every_noted_voice_is_there_with_its_source(live: Codec) -> None:
    notes = voice_notes(bundled_path())
    assert set(live.voices) == set(notes) and len(notes) >= 4
    for name, about in notes.items():
        assert live.voices[name].shape == (TIMBRE_DIM,) and np.isfinite(live.voices[name]).all()
        assert about["licence"] in ("CC0 1.0", "CC BY 4.0") and about["attribution"], name
    card = (bundled_path() / "README.md").read_text()
    assert all(f"`{name}`" in card for name in notes)


def test_conversion_by_name_moves_the_pitch_to_that_voice(live: Codec, hello: np.ndarray) -> None:
    medians, notes = {}, voice_notes(bundled_path())
    for name, voice in live.voices.items():
        track = track_pitch(live.convert(hello, voice)[: len(hello) // HOP * HOP])
        medians[name] = float(np.median(track[track > 0]))
        wanted = 150.0 * 2.0 ** float(voice[-1])
        assert abs(medians[name] / wanted - 1.0) < 0.15, (name, medians[name], wanted)
        told = notes[name]["pitch"]
        assert told == f"{float(told.split()[0]):.0f} Hz"
        assert abs(medians[name] / float(told.split()[0]) - 1.0) < 0.03, (name, medians[name], told)
        assert notes[name]["sex"] == ("woman" if medians[name] > WOMEN_ABOVE else "man"), name
    assert max(medians.values()) > 1.4 * min(medians.values())


def test_voices_swapped_mid_stream_do_not_click(live: Codec, hello: np.ndarray) -> None:
    """Every half second another voice; each compared with conversions that stay in this one and in
    the one before, which it glides from: a burst may be louder in one of them."""
    names, span = list(live.voices), 40 * HOP
    alone = [live.convert(hello, live.voices[name]) for name in names]
    stream, parts = live.converter_stream(live.voices[names[0]]), []
    starts = range(0, len(hello), span)
    for number, start in enumerate(starts):
        stream.timbre = live.voices[names[number % len(names)]]
        parts.append(stream.push(hello[start : start + span]))
    swapped = np.concatenate((*parts, stream.flush()))
    for number, start in enumerate(starts):
        heard = slice(max(0, start - HOP), start + span)
        both = [alone[k % len(names)][heard] for k in (number, max(0, number - 1))]
        assert min(clicks(one, swapped[heard]) for one in both) == 0, start
