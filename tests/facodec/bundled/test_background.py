"""Noise of a recording that a voice is enrolled from is taken down; what is clean stays."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from facodec.bundled.background import without_background
from facodec.codec import Codec
from facodec.streams.lanes import as_numpy
from facodec.training.corpus import find_files, read_speech
from facodec.training.noise import noise_of


def mix(speech: np.ndarray, other: np.ndarray, snr: float) -> np.ndarray:
    gain = np.sqrt(np.mean(speech**2) / np.mean(other**2)) * 10 ** (-snr / 20)
    return (speech + gain * other).astype(np.float32)


def noise(kind: str, length: int) -> np.ndarray:
    return noise_of(kind, length, np.random.default_rng(0))


def test_clean_speech_is_left_as_it_is(hello: np.ndarray) -> None:
    assert without_background(hello) is hello
    quiet = mix(hello, noise("pink", len(hello)), 25.0)
    assert without_background(quiet) is quiet


@pytest.mark.parametrize("kind", ["white", "pink", "fan"])
def test_noise_is_taken_down_and_speech_is_not(kind: str, hello: np.ndarray) -> None:
    spoiled = mix(hello, noise(kind, len(hello)), 10.0)
    cleared = without_background(spoiled)
    assert cleared.dtype == np.float32 and len(cleared) == len(spoiled)
    spoken = np.abs(hello) > 0.05
    before, after = (np.square(x[spoken], dtype=np.float64).mean() for x in (spoiled, cleared))
    assert 10 * np.log10(after / before) > -2.0
    silent = np.convolve(np.abs(hello), np.full(800, 1 / 800), "same") < 0.001
    assert silent.mean() > 0.05
    before, after = (np.square(x[silent], dtype=np.float64).mean() for x in (spoiled, cleared))
    assert 10 * np.log10(after / before) < -10.0


@pytest.mark.parametrize("offset", [0.01, 0.3])
def test_an_offset_is_no_noise(offset: float, hello: np.ndarray) -> None:
    moved = hello + np.float32(offset)
    assert without_background(moved) is moved
    spoiled = mix(hello, noise("white", len(hello)), 10.0)
    cleared, shifted = (without_background(spoiled + np.float32(x)) for x in (0.0, offset))
    np.testing.assert_allclose(shifted, cleared, rtol=0, atol=1e-3)


def test_voices_from_noise_are_nearer_to_their_own(speech_folder: Path, live: Codec) -> None:
    gains = []
    long = (a for a in map(read_speech, find_files(speech_folder)) if len(a) > 8 * 16_000)
    for clean in islice((audio[: 10 * 16_000] for audio in long), 5):
        spoiled = mix(clean, noise("pink", len(clean)), 10.0)
        own = live.voice(clean)
        as_it_is = as_numpy(live.model.voice(live._audio(spoiled)))  # type: ignore[attr-defined]
        gains.append(alike(live.voice(spoiled), own) - alike(as_it_is, own))
    assert np.mean(gains) > 0.1


def alike(a: np.ndarray, b: np.ndarray) -> float:
    return float(a[:255] @ b[:255] / np.linalg.norm(a[:255]) / np.linalg.norm(b[:255]))


def test_a_short_recording_is_cleared_too(hello: np.ndarray) -> None:
    loud = int(np.argmax(np.convolve(hello**2, np.ones(8_000), "valid")))
    short = hello[loud : loud + 8_000]
    spoiled = mix(short, noise("white", len(short)), 10.0)
    assert not np.array_equal(without_background(spoiled), spoiled)


@pytest.mark.parametrize("length", [1, 200, 511, 513, 4_000])
def test_any_length_and_silence_come_back(length: int) -> None:
    silence = np.zeros(length, np.float32)
    assert np.array_equal(without_background(silence), silence)
    steady = noise("white", length) * np.float32(0.1)
    cleared = without_background(steady)
    assert len(cleared) == length and np.isfinite(cleared).all()
