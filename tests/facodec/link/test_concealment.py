"""Lost frames are spoken on for 80 ms and then fade, without a click."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import facodec
from facodec.bundled.prosody import LEVELS
from facodec.codec import Codec, Frames
from facodec.config import HOP
from facodec.link.concealment import FADE, HELD, ConcealingDecoder, concealed
from facodec.sound.reading import read_audio
from facodec.training.metrics import clicks

HELLO = Path(__file__).parents[2] / "data" / "hello.flac"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return facodec.load("live", backend="float32")


@pytest.fixture(scope="module")
def spoken(codec: Codec) -> Frames:
    return codec.encode(read_audio(HELLO))


def heard(codec: Codec, spoken: Frames, lost: set[int]) -> np.ndarray:
    decoder = codec.decoder_stream(spoken.timbre)
    concealing = ConcealingDecoder(decoder.push)
    frames = range(spoken.codes.shape[1])
    return np.concatenate(
        [concealing.push(None if t in lost else spoken.codes[:, t : t + 1]) for t in frames]
    )


def test_pitch_and_level_fall_and_the_detail_goes() -> None:
    last = np.array([60 * LEVELS + 5, 1, 2, 3, 4, 5])
    frames = [concealed(last, n) for n in range(1, 12)]
    assert [len(frame) for frame in frames] == [6] + [3] * 10
    assert all(np.array_equal(frame[1:3, 0], last[1:3]) for frame in frames)
    pitches = [int(frame[0, 0]) // LEVELS for frame in frames]
    levels = [int(frame[0, 0]) % LEVELS for frame in frames]
    assert pitches == sorted(pitches, reverse=True) and pitches[0] == 60 and pitches[-1] == 55
    assert levels == sorted(levels, reverse=True) and levels[0] == 5 and levels[-1] == 2


def test_nothing_voiced_is_made_of_what_was_not() -> None:
    assert concealed(np.array([3, 1, 2]), 40)[0, 0] == 0
    assert concealed(np.array([LEVELS, 1, 2]), 40)[0, 0] // LEVELS == 1


def test_other_shapes_are_refused() -> None:
    for last, missing in ((np.zeros(2, int), 1), (np.zeros(6, int), 0)):
        with pytest.raises(ValueError, match="codes of a frame"):
            concealed(last, missing)


def test_without_loss_nothing_is_changed(codec: Codec, spoken: Frames) -> None:
    plain = codec.decoder_stream(spoken.timbre)
    frames = range(spoken.codes.shape[1])
    wanted = np.concatenate([plain.push(spoken.codes[:, t : t + 1]) for t in frames])
    assert np.array_equal(heard(codec, spoken, set()), wanted)


@pytest.mark.parametrize("length", [1, 2, 4, 8, 40])
def test_no_gap_of_any_length_clicks(codec: Codec, spoken: Frames, length: int) -> None:
    frames = spoken.codes.shape[1]
    lost = {t + i for t in range(20, frames - 50, 90) for i in range(length)}
    whole, with_gaps = heard(codec, spoken, set()), heard(codec, spoken, lost)
    assert len(with_gaps) == len(whole)
    assert clicks(whole, with_gaps) == 0


def test_a_long_gap_fades_to_the_noise_of_before(codec: Codec, spoken: Frames) -> None:
    loudest = int(np.argmax(spoken.codes[0] % LEVELS))
    gap = set(range(loudest + 1, loudest + 60))
    with_gap = heard(codec, spoken, gap).reshape(-1, HOP)
    levels = 10 * np.log10(np.square(with_gap, dtype=np.float64).mean(axis=1) + 1e-10)
    silent = levels[loudest + HELD + FADE + 2 : loudest + 58]
    assert silent.max() < levels[loudest] - 30
    assert np.ptp(silent[:44].reshape(-1, 4).mean(axis=1)) < 6
    assert np.array_equal(heard(codec, spoken, gap), with_gap.ravel())


def test_before_the_first_frame_there_is_silence(codec: Codec, spoken: Frames) -> None:
    concealing = ConcealingDecoder(codec.decoder_stream(spoken.timbre).push)
    assert not concealing.push(None).any()
