"""Sound files as input and output: any rate and channel count in, 16 kHz mono out, streamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import soundfile
import soxr

from clients.errors import AudioFileError
from facodec.config import HOP, LOUDEST, SAMPLE_RATE

READ_SECONDS = 1.0
"""How much of a long file is in memory at a time."""
LONGEST_WHOLE_FILE = 600.0
"""Most seconds that :func:`read_audio` will hold: references and clips, not archives."""
SUBTYPES = {".wav": "PCM_24", ".flac": "PCM_24"}
"""24 bits keep the codec's output to 1e-7 of full scale and play everywhere."""


class AudioReader:
    """A sound file as mono float32 samples at 16 kHz, read and resampled piece by piece.

    Raises AudioFileError, with a sentence, for a missing, unreadable or empty file, and while
    reading for samples that are not finite numbers or far louder than full scale.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = _open(self.path)
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.seconds: float = self._file.frames / self.rate
        if self._file.frames == 0:
            self._file.close()
            raise AudioFileError(f"{self.path} holds no sound (0 samples)")

    def pieces(self) -> Iterator[np.ndarray]:
        """float32 pieces of about a second, together the whole file."""
        resampler = Resampler(self.rate, SAMPLE_RATE)
        wanted = max(1, round(READ_SECONDS * self.rate))
        try:
            while len(piece := self._read(wanted)):
                yield resampler.push(piece)
            yield resampler.flush()
        finally:
            self.close()

    def blocks(self, size: int = HOP) -> Iterator[np.ndarray]:
        """float32 blocks of ``size`` samples; the last may be shorter."""
        left = np.zeros(0, np.float32)
        for piece in self.pieces():
            left = np.concatenate([left, piece])
            whole = len(left) - len(left) % size
            yield from left[:whole].reshape(-1, size)
            left = left[whole:]
        if len(left):
            yield left

    def close(self) -> None:
        self._file.close()

    def _read(self, frames: int) -> np.ndarray:
        try:
            piece = self._file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
        except soundfile.LibsndfileError as error:
            raise AudioFileError(f"{self.path} is damaged: {error}") from error
        if not np.isfinite(piece).all():
            raise AudioFileError(f"{self.path} holds samples that are not finite (NaN or infinite)")
        peak = float(np.abs(piece).max(initial=0.0))
        if peak > LOUDEST:
            raise AudioFileError(
                f"{self.path} reaches {peak:.3g} times full scale: bring its samples down to 1.0"
            )
        return piece


def read_audio(path: str | Path) -> np.ndarray:
    """A whole sound file as float32 (samples,) at 16 kHz mono."""
    reader = AudioReader(path)
    if reader.seconds > LONGEST_WHOLE_FILE:
        reader.close()
        raise AudioFileError(
            f"{path} lasts {reader.seconds:.0f} s; at most {LONGEST_WHOLE_FILE:.0f} s fit here: "
            "cut out a part"
        )
    return np.concatenate(list(reader.pieces()))


class AudioWriter:
    """Writes 16 kHz mono sound as it comes; the file is complete whenever this is closed.

    The format follows from the suffix (wav, flac, ogg, mp3). The file is made, or an older one of
    this name replaced, when the first samples come: whoever fails before that destroys nothing.
    Use it as a context manager. Raises AudioFileError where it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.samples = 0
        self._file: soundfile.SoundFile | None = None
        suffix = self.path.suffix.lower()
        known = {f".{name.lower()}" for name in soundfile.available_formats()}
        if suffix not in known:
            raise AudioFileError(
                f"cannot tell a sound format from {self.path.name!r}: "
                "give it the suffix .wav, .flac, .ogg or .mp3"
            )
        _need_writable(self.path)

    def write(self, samples: np.ndarray) -> None:
        """Append samples (n,), full scale 1.0; louder is clipped."""
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(np.asarray(samples, np.float32))
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            raise AudioFileError(f"cannot write {self.path}: {error}") from error
        self.samples += len(samples)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> soundfile.SoundFile:
        subtype = SUBTYPES.get(self.path.suffix.lower())
        return soundfile.SoundFile(
            self.path, "w", samplerate=SAMPLE_RATE, channels=1, subtype=subtype
        )

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Resampler:
    """Stream resampling of mono float32 between two rates; the identity where they are equal."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._stream: Any = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")

    def push(self, samples: np.ndarray) -> np.ndarray:
        """What ``samples`` (n,) bring out: some come later, by the filter's delay."""
        return self._through(samples, last=False)

    def flush(self) -> np.ndarray:
        """The rest. Nothing may be pushed after it."""
        return self._through(np.zeros(0, np.float32), last=True)

    def _through(self, samples: np.ndarray, *, last: bool) -> np.ndarray:
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples, last=last), np.float32)


def _open(path: Path) -> Any:
    if not path.exists():
        raise AudioFileError(f"there is no file {path}")
    if path.is_dir():
        raise AudioFileError(f"{path} is a folder, not a sound file")
    if path.stat().st_size == 0:
        raise AudioFileError(f"{path} is empty (0 bytes)")
    try:
        return soundfile.SoundFile(path)
    except PermissionError as error:
        raise AudioFileError(f"no permission to read {path}") from error
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioFileError(
            f"{path} is no sound file that can be read (wav, flac, ogg and mp3 can): {error}"
        ) from error


def _need_writable(path: Path) -> None:
    """Says early what the first write would run into."""
    if not path.parent.is_dir():
        raise AudioFileError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise AudioFileError(f"cannot write {path}: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise AudioFileError(f"cannot write {path}: no permission")
