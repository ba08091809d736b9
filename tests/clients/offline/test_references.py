"""Recordings of a voice: what is refused, what is remarked on, and the part that is used."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clients.audio.files import read_audio
from clients.errors import ClientError
from clients.offline.references import MostSpeech, measure, read_reference
from clients.offline.voicebook import BUNDLED, Profiles
from facodec.bundled.levels import NORMAL
from facodec.reasons import FileError

RATE = 16000
TIME = np.arange(6 * RATE) / RATE
HELLO = read_audio(BUNDLED["slt"])
RANDOM = np.random.default_rng(0)
NO_SPEECH = {
    "silence": np.zeros(len(TIME)),
    "an offset": np.full(len(TIME), 0.3),
    "hum": 0.3 * np.sin(2 * np.pi * 50 * TIME),
    "noise": 0.1 * RANDOM.standard_normal(len(TIME)),
    "bursts of noise": 0.1 * RANDOM.standard_normal(len(TIME)) * (TIME % 0.5 < 0.25),
    "a tone": 0.3 * np.sin(2 * np.pi * 440 * TIME),
    "beeps": 0.3 * np.sin(2 * np.pi * 440 * TIME) * (TIME % 0.5 < 0.25),
    "a chord": 0.1 * sum(np.sin(2 * np.pi * f * TIME) for f in (261.6, 329.6, 392.0)),
    "chords": 0.1 * np.exp(-3 * (TIME % 1)) * sum(np.sin(2 * np.pi * f * TIME) for f in (261, 392)),
    "clicks": 0.8 * (np.arange(len(TIME)) % 4000 == 0),
    "a buzz": 0.8 * (np.arange(len(TIME)) % 160 == 0),
}


def written(path: Path, sound: np.ndarray) -> Path:
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize("kind", NO_SPEECH)
def test_no_speech_is_nobodys_voice(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", NO_SPEECH[kind])
    with pytest.raises(ClientError, match=r"no speech found in .*a\.wav: .* record 3 s or more"):
        read_reference(path)


def test_a_reference_must_last_a_while(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"too short for a voice: 0\.10 s"):
        read_reference(written(tmp_path / "a.wav", HELLO[:1600]))


def test_a_link_to_a_device_is_nobodys_voice(tmp_path: Path) -> None:
    for name in ("zero.wav", "zero.voice"):
        (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(FileError, match=r"zero\.wav is a device"):
        read_reference(tmp_path / "zero.wav")
    (zero,) = Profiles(tmp_path).list()
    with pytest.raises(FileError, match=r"zero\.voice is a device"):
        zero.timbre()


@pytest.mark.parametrize("name", BUNDLED)
def test_good_ones_are_used_as_they_are(name: str) -> None:
    reference = read_reference(BUNDLED[name])
    np.testing.assert_array_equal(reference.samples, read_audio(BUNDLED[name]))
    assert reference.remarks == []


def test_short_noisy_and_mostly_silent_ones_are_remarked_on(tmp_path: Path) -> None:
    power = np.sqrt((HELLO**2).mean())
    noisy = HELLO + RANDOM.standard_normal(len(HELLO)) * power * 10 ** (-11 / 20)
    silent = np.concatenate([1e-4 * RANDOM.standard_normal(55 * RATE), HELLO])
    for sound, sentence in (
        (HELLO[: 2 * RATE], r"lasts 2\.0 s .* which is short"),
        (noisy, r"only 1\d dB above the background, 16 dB or more are good"),
        (silent, r"of its 6\d\.\d s are voiced speech|of its 5\d\.\d s are voiced speech"),
    ):
        (remark,) = read_reference(written(tmp_path / "a.wav", sound)).remarks
        assert re.search(sentence, remark), remark


@pytest.mark.parametrize("level", [-46, -56, -66])
def test_the_level_of_a_reference_does_not_matter(level: int, tmp_path: Path) -> None:
    scale = 10 ** (level / 20) / np.sqrt((HELLO**2).mean())
    path = tmp_path / "quiet.wav"
    soundfile.write(path, HELLO * scale, RATE, subtype="PCM_16")
    reference = read_reference(path)
    assert abs(measure(reference.samples).level - NORMAL) < 0.1
    assert reference.remarks == []


@pytest.mark.parametrize("level", [-76, -81, -86])
def test_a_reference_that_16_bits_hold_little_of_is_remarked_on(level: int, tmp_path: Path) -> None:
    """Its silence is digital, and tells nothing of how good it is."""
    scale = 10 ** (level / 20) / np.sqrt((HELLO**2).mean())
    soundfile.write(tmp_path / "quiet.wav", HELLO * scale, RATE, subtype="PCM_16")
    assert measure(read_audio(tmp_path / "quiet.wav")).snr < level + 110
    (remark,) = read_reference(tmp_path / "quiet.wav").remarks
    assert re.search(r"its speech is at -\d\d dB .* record it louder", remark)


def test_the_minute_with_most_speech_is_used(tmp_path: Path) -> None:
    """61 s of silence, then speech; and a long recording, in bounded memory."""
    quiet = np.zeros(61 * RATE)
    found = read_reference(written(tmp_path / "late.wav", np.concatenate([quiet, HELLO]))).samples
    assert len(found) <= 60 * RATE
    assert abs(measure(found).speech - measure(HELLO).speech) < 0.1
    long = np.concatenate([quiet, *[HELLO, quiet[: 10 * RATE]] * 38])
    found = read_reference(written(tmp_path / "long.wav", long)).samples
    assert len(found) == 60 * RATE
    assert measure(found).speech > 1.4 * measure(long[61 * RATE : 121 * RATE].astype("f4")).speech


def test_any_cut_of_the_input_chooses_the_same() -> None:
    sound = np.concatenate([HELLO, np.zeros(20 * RATE, np.float32)] * 4)
    whole, parts = MostSpeech(), MostSpeech()
    whole.push(sound)
    for part in np.array_split(sound, 333):
        parts.push(part)
    np.testing.assert_array_equal(whole.samples(), parts.samples())


def test_a_saved_voice_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(
        ClientError, match=r"a\.voice is a saved voice, .* by name, and `facodec voices`"
    ):
        read_reference(tmp_path / "a.voice")
