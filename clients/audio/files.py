"""Sound files of the clients: the reading door of :mod:`facodec.sound.reading`, and writing
aside."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import soundfile

from clients.errors import UsageError
from facodec.config import SAMPLE_RATE
from facodec.files import STANDARD, Replacement, is_open_ended, need_writable
from facodec.reasons import FileError, shown
from facodec.sound.reading import AudioReader, Resampler, read_audio

__all__ = ["AudioReader", "AudioWriter", "Resampler", "keep_apart", "read_audio"]

STDIN, STDOUT = 0, 1
"""File descriptors of what ``-`` stands for."""
FORMATS = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_24"),
    ".aif": ("AIFF", "PCM_24"),
    ".au": ("AU", "PCM_24"),
    ".caf": ("CAF", "PCM_24"),
    ".w64": ("W64", "PCM_24"),
    ".rf64": ("RF64", "PCM_24"),
}
"""24 bits keep the codec's output to 1e-7 of full scale and play everywhere."""


class AudioWriter:
    """Writes 16 kHz mono sound as it comes, aside, and moves it to its place when closed.

    The format follows from the suffix (wav, flac, ogg, mp3; wav for standard output, ``-``). An
    older file of this name is replaced when this is closed and samples have come: whoever fails
    before that destroys nothing. A pipe is opened at once, and gets all of it in the end.
    ``partial``: a file that ended early, by an exception or a full disk, is put in its place too,
    complete up to there; else it is discarded. Use it as a context manager. Raises FileError where
    it cannot be written.
    """

    def __init__(self, path: str | Path, *, partial: bool = True) -> None:
        self.path = Path(path)
        self.samples = 0
        self._partial = partial
        self._aside: Replacement | None = None
        self._file: soundfile.SoundFile | None = None
        self._format = need_sound_output(self.path)
        if is_open_ended(self.path):
            self._aside = Replacement(self.path)

    def write(self, samples: np.ndarray) -> None:
        """Append samples (n,), full scale 1.0; louder is clipped."""
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(np.asarray(samples, np.float32))
        except (soundfile.SoundFileError, OSError, AssertionError) as error:
            failure = self._failure() or FileError(f"cannot write {shown(self.path)}: {error}")
            raise failure from error
        if (failed := self._failure()) is not None:
            raise failed
        self.samples += len(samples)

    def close(self) -> None:
        """Complete the file and move it to its place. Raises FileError. Safe to call again."""
        self._end(keep=True)

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._end(keep=True)
        else:
            with suppress(FileError):  # the first failure is the one to tell
                self._end(keep=self._partial)

    def _open(self) -> soundfile.SoundFile:
        if self._aside is None:
            self._aside = Replacement(self.path)
        kind, subtype = self._format
        return soundfile.SoundFile(
            _Quiet(self._aside), "w", SAMPLE_RATE, 1, subtype=subtype, format=kind
        )

    def _failure(self) -> FileError | None:
        return None if self._aside is None else self._aside.failure

    def _end(self, *, keep: bool) -> None:
        file, aside = self._file, self._aside
        self._file = self._aside = None
        if aside is None:
            return
        told = aside.failure is not None
        if file is not None:
            with suppress(soundfile.SoundFileError):
                file.close()
        if file is None or (aside.failure is not None and not (self._partial and self.samples)):
            keep = False
        if keep:
            aside.commit()
        aside.discard()
        if aside.failure is not None and not told:
            raise aside.failure


def need_sound_output(path: Path) -> tuple[str, str]:
    """The format and its kind of samples of a sound file that is to be written. Raises FileError
    early where it has none, or cannot be written."""
    suffix = ".wav" if path == STANDARD else path.suffix.lower()
    if suffix not in FORMATS:
        raise FileError(
            f"cannot tell a sound format from {shown(path.name)!r}: "
            "give it the suffix .wav, .flac, .ogg or .mp3"
        )
    need_writable(path)
    return FORMATS[suffix]


class _Quiet(io.RawIOBase):
    """A file for libsndfile, through which no exception can pass: it says of a failed write that
    nothing was written, and the file itself remembers why."""

    def __init__(self, file: Replacement) -> None:
        super().__init__()
        self._file = file

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except FileError:
            return 0

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def keep_apart(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Raises UsageError where an output would replace an input or another output, by its name or
    through links."""
    written: list[Path] = []
    for output in outputs:
        if output is None:
            continue
        for other in inputs:
            if other is not None and _is_same(output, other, STDIN):
                raise UsageError(
                    f"{shown(output)} would replace the file that is read ({shown(other)}): "
                    "they must be different files"
                )
        if any(_is_same(output, other, STDOUT) for other in written):
            raise UsageError(f"{shown(output)} is written twice: those must be different files")
        written.append(output)


def _is_same(output: Path, other: Path, stream: int) -> bool:
    """Whether both names mean one file, ``-`` the one that is standard output or, as ``other``, the
    one open as ``stream``; terminals, pipes and devices never are."""
    try:
        one, two = _status(output, STDOUT), _status(other, stream)
        if one is not None and two is not None:
            return os.path.samestat(one, two) and S_ISREG(one.st_mode)
        return STANDARD not in (output, other) and output.resolve() == other.resolve()
    except (OSError, RuntimeError, ValueError):
        return False


def _status(path: Path, stream: int) -> os.stat_result | None:
    """Status of the file, None where there is none yet."""
    if path == STANDARD:
        return os.fstat(stream)
    return path.stat() if path.exists() else None
