"""Stretching keeps the pitch, makes no clicks, and depends on nothing but the samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facodec.sound.reading import read_audio
from facodec.training.metrics import clicks
from streaming.playout.stretching import ENOUGH, SEAM, STEP, Stretcher, cut_silence

HELLO = Path(__file__).parents[2] / "data" / "hello.flac"
RATE = 16_000


def stretched(samples: np.ndarray, speed: float, piece: int) -> np.ndarray:
    stretcher = Stretcher()
    stretcher.speed = speed
    parts = [stretcher.push(samples[at : at + piece]) for at in range(0, len(samples), piece)]
    return np.concatenate((*parts, stretcher.flush()))


def tone(hertz: float, seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 8)).astype(np.float32) / 4


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return read_audio(HELLO)


@pytest.mark.parametrize("piece", [1, 200, 1600, 10**6])
def test_at_speed_one_the_sound_is_what_it_was(speech: np.ndarray, piece: int) -> None:
    samples = speech[:8000]
    assert np.allclose(stretched(samples, 1.0, piece), samples, atol=1e-6)


@pytest.mark.parametrize("speed", [0.75, 0.9, 1.1, 1.25])
def test_the_length_follows_the_speed_and_nothing_clicks(speech: np.ndarray, speed: float) -> None:
    out = stretched(speech, speed, 200)
    assert abs(len(out) * speed - len(speech)) < ENOUGH
    resampled = np.interp(
        np.linspace(0, len(speech) - 1, len(out)), np.arange(len(speech)), speech
    ).astype(np.float32)
    assert clicks(resampled, out) == 0


@pytest.mark.parametrize("speed", [0.75, 1.25])
@pytest.mark.parametrize("hertz", [80.0, 130.0, 210.0, 330.0])
def test_the_pitch_stays(hertz: float, speed: float) -> None:
    out = stretched(tone(hertz, 2.0), speed, 200)[RATE // 4 : RATE]
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out)), 1 << 18))
    assert abs(np.argmax(spectrum) * RATE / (1 << 18) / hertz - 1) < 0.01


def test_it_depends_on_the_samples_alone(speech: np.ndarray) -> None:
    whole = stretched(speech, 1.25, 10**6)
    assert np.array_equal(stretched(speech, 1.25, 200), whole)
    assert np.array_equal(stretched(speech, 1.25, 777), whole)


def test_a_change_of_speed_in_midstream_makes_no_click(speech: np.ndarray) -> None:
    stretcher, out, taken = Stretcher(), [], []
    for i, at in enumerate(range(0, len(speech) - 200, 200)):
        stretcher.speed = (1.0, 1.25, 0.75)[i // 8 % 3]
        got = stretcher.push(speech[at : at + 200])
        out.append(got)
        taken.append(len(got))
        assert stretcher.waiting <= ENOUGH + STEP
    joined = np.concatenate(out)
    reference = np.resize(speech, len(joined))
    loud = np.abs(np.diff(joined)).max()
    assert loud <= 1.05 * np.abs(np.diff(speech)).max()
    assert clicks(reference, joined) == 0 or loud <= np.abs(np.diff(speech)).max()


@pytest.mark.parametrize("speed", [0.7, 1.3])
def test_more_than_a_quarter_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match=r"from 0\.75 to 1\.25"):
        Stretcher().speed = speed


def test_silence_is_cut_and_speech_is_not() -> None:
    loud = tone(200.0, 0.2)
    samples = np.concatenate((loud, np.zeros(4000, np.float32), loud))
    shorter = cut_silence(samples, 3000)
    assert len(shorter) == len(samples) - 3000
    assert np.array_equal(shorter[: len(loud)], loud)
    assert np.array_equal(shorter[-len(loud) :], loud)
    assert len(cut_silence(samples, 10**6)) >= 2 * len(loud) + 2 * SEAM - 2
    assert cut_silence(loud, 1000) is loud
