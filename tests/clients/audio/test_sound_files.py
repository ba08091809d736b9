"""Files in and out: rates, channels, formats, and sentences for what is no sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from clients.audio.files import AudioReader, AudioWriter, Resampler, read_audio
from facodec.reasons import FileError
from tests.exactness import assert_equal_audio


def noise(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Band-limited noise that any of the rates can carry."""
    slow = np.random.default_rng(1).normal(0, 0.1, (int(seconds * 4000), channels))
    return soxr.resample(slow.astype(np.float32), 4000, rate)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_any_file_comes_as_16_khz_mono(
    tmp_path: Path, rate: int, channels: int, suffix: str
) -> None:
    path = tmp_path / f"in{suffix}"
    sound = noise(2.5, rate, channels)
    soundfile.write(path, sound, rate)
    got = read_audio(path)
    wanted = soxr.resample(sound.mean(axis=1), rate, 16000)
    assert got.dtype == np.float32
    tolerance = {".mp3": 3000, ".ogg": 200}.get(suffix, 2)  # lossy codecs pad
    assert abs(len(got) - len(wanted)) <= tolerance
    if suffix in (".wav", ".flac"):
        np.testing.assert_allclose(got, wanted[: len(got)], atol=2e-3)


def test_pieces_and_blocks_are_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, noise(3.3, 16000), 16000, subtype="FLOAT")
    whole = read_audio(path)
    np.testing.assert_array_equal(np.concatenate(list(AudioReader(path).pieces())), whole)
    blocks = list(AudioReader(path).blocks(200))
    assert {len(block) for block in blocks[:-1]} == {200}
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_stream_resampling_equals_resampling_the_whole() -> None:
    sound = noise(2.0, 44100)[:, 0]
    stream = Resampler(44100, 16000)
    parts = [stream.push(part) for part in np.array_split(sound, 37)]
    streamed = np.concatenate([*parts, stream.flush()])
    assert_equal_audio(streamed, soxr.resample(sound, 44100, 16000))


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_what_is_written_is_exact_to_24_bits(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    sound = noise(1.0, 16000)[:, 0]
    with AudioWriter(path) as writer:
        for part in np.array_split(sound, 7):
            writer.write(part)
    assert writer.samples == len(sound)
    np.testing.assert_allclose(read_audio(path), sound, atol=2e-7)


def test_a_file_is_complete_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    with pytest.raises(KeyboardInterrupt), AudioWriter(path) as writer:
        writer.write(np.zeros(1234, np.float32))
        raise KeyboardInterrupt
    assert soundfile.info(path).frames == 1234


def test_a_missing_file_a_folder_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no file"):
        AudioReader(tmp_path / "no.wav")
    with pytest.raises(FileError, match="is a folder"):
        AudioReader(tmp_path)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(FileError, match=r"is empty \(0 bytes\)"):
        AudioReader(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "silent.wav", np.zeros(0), 16000)
    with pytest.raises(FileError, match=r"holds no sound \(0 samples\)"):
        AudioReader(tmp_path / "silent.wav")


def test_what_is_no_sound_file(tmp_path: Path) -> None:
    path = tmp_path / "text.wav"
    path.write_text("this is not sound, whatever it is called\n" * 10)
    with pytest.raises(FileError, match="is no sound file that can be read"):
        AudioReader(path)


def test_samples_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    sound = np.zeros(1000, np.float32)
    sound[500] = np.nan
    soundfile.write(path, sound, 16000, subtype="FLOAT")
    with pytest.raises(FileError, match="not finite"):
        read_audio(path)


def test_samples_far_beyond_full_scale(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.full(1000, 3000.0), 16000, subtype="FLOAT")
    with pytest.raises(FileError, match=r"3e\+03 times full scale"):
        read_audio(path)


def test_an_older_file_stays_until_there_is_sound_to_replace_it(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"precious")
    with AudioWriter(path):
        pass
    assert path.read_bytes() == b"precious"
    with AudioWriter(path) as writer:
        writer.write(np.zeros(7, np.float32))
    assert soundfile.info(path).frames == 7


def test_a_long_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(601 * 1000), 1000)
    with pytest.raises(FileError, match="lasts more than 600 s"):
        read_audio(path)


def test_where_one_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no folder"):
        AudioWriter(tmp_path / "no" / "out.wav")
    with pytest.raises(FileError, match="give it the suffix"):
        AudioWriter(tmp_path / "out.xyz")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(FileError, match="it is a folder"):
        AudioWriter(tmp_path / "folder.wav")
    with pytest.raises(FileError, match="give it the suffix"):
        AudioWriter(tmp_path / "out")
