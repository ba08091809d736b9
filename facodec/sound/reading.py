"""The one door for sound: any file of speech in, 16 kHz mono out, piece by piece.

Headers are not believed: a file is as long as what can be read of it. All channels are mixed, all
links of a chained file are read, and rates, levels and lengths have bounds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from facodec.config import HOP, LOUDEST, SAMPLE_RATE
from facodec.files import open_input
from facodec.reasons import FileError, shown, why
from facodec.sound import containers
from facodec.sound.links import MOST_LINKS, Window, find_links

log = logging.getLogger(__name__)

Samples = NDArray[np.float32]

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
"""Samples a second that a recording of speech can have."""
MOST_PIECE = 1 << 20
"""Samples of all channels together that are read at a time: about a second, and 4 MB."""
LONGEST = 24 * 3600
"""Seconds of a recording that are read; more is refused, as it is surely not meant."""
LONGEST_WHOLE_FILE = 600.0
"""Most seconds that :func:`read_audio` will hold: references and clips, not archives."""


class AudioReader:
    """A sound file as mono float32 samples at 16 kHz, read and resampled piece by piece.

    ``-`` is standard input; pipes are read too. Raises FileError, with a sentence, for a missing,
    unreadable or empty file, and while reading for damage, samples that are not finite numbers or
    far louder than full scale, and more than :data:`LONGEST` seconds.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_input(self.path)
        try:
            self._parts = _open_parts(self._file, self.path)
            self._pieces = self._resampled()
            first = next((piece for piece in self._pieces if len(piece)), None)
        except BaseException:
            self._file.close()
            raise
        if first is None:
            self._file.close()
            raise FileError(f"{shown(self.path)} holds no sound (0 samples)")
        self._first = first

    def pieces(self) -> Iterator[Samples]:
        """float32 pieces of about a second, together the whole file. Iterate once."""
        try:
            yield from chain([self._first], self._pieces)
        finally:
            self.close()

    def blocks(self, size: int = HOP) -> Iterator[Samples]:
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

    def _resampled(self) -> Iterator[Samples]:
        samples = 0
        for part in self._parts:
            resampler: Resampler | None = None
            rate = 0
            for piece, piece_rate in part:
                if resampler is None or piece_rate != rate:
                    if resampler is not None:
                        yield resampler.flush()
                    rate = self._checked_rate(piece_rate)
                    resampler = Resampler(rate, SAMPLE_RATE)
                out = resampler.push(self._checked(piece))
                samples += len(out)
                if samples > LONGEST * SAMPLE_RATE:
                    hours = LONGEST // 3600
                    raise FileError(f"{shown(self.path)} lasts more than {hours} h: cut it")
                yield out
            if resampler is not None:
                yield resampler.flush()

    def _checked_rate(self, rate: int) -> int:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise FileError(
                f"{shown(self.path)} has {rate} samples a second: "
                f"expected {LOWEST_RATE} to {HIGHEST_RATE}"
            )
        return rate

    def _checked(self, piece: Samples) -> Samples:
        if not np.isfinite(piece).all():
            raise FileError(
                f"{shown(self.path)} holds samples that are not finite (NaN or infinite)"
            )
        peak = float(np.abs(piece).max(initial=0.0))
        if peak > LOUDEST:
            raise FileError(
                f"{shown(self.path)} reaches {peak:.3g} times full scale: "
                "bring its samples down to 1.0"
            )
        return piece


def read_audio(path: str | Path, longest: float = LONGEST_WHOLE_FILE) -> Samples:
    """A whole sound file as float32 (samples,) at 16 kHz mono. Raises FileError, also for more
    than ``longest`` seconds."""
    reader = AudioReader(path)
    pieces: list[Samples] = []
    samples = 0
    for piece in reader.pieces():
        samples += len(piece)
        if samples > longest * SAMPLE_RATE:
            reader.close()
            raise FileError(
                f"{shown(path)} lasts more than {longest:.0f} s, which is the most that fits here: "
                "cut out a part"
            )
        pieces.append(piece)
    return np.concatenate(pieces)


class Resampler:
    """Stream resampling of mono float32 between two rates; the identity where they are equal."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._stream: Any = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")

    def push(self, samples: Samples) -> Samples:
        """Samples (n,) -> those that they complete: some come later, by the filter's delay."""
        return self._through(samples, last=False)

    def flush(self) -> Samples:
        """The rest. Nothing may be pushed after it."""
        return self._through(np.zeros(0, np.float32), last=True)

    def _through(self, samples: Samples, *, last: bool) -> Samples:
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples, last=last), np.float32)


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file read from its beginning to its end: soundfile seeks after each read where it
    can, which fails at the end of a file whose header does not say how long it is."""

    def seekable(self) -> bool:
        return False


def _open_parts(file: BinaryIO, path: Path) -> Iterator[Iterator[tuple[Samples, int]]]:
    """The links of a file, each as mono pieces and their rate. The first is opened here."""
    links = find_links(file)
    if not links:
        raise FileError(f"{shown(path)} is empty (0 bytes)")
    if len(links) > MOST_LINKS:
        raise FileError(f"{shown(path)} consists of more than {MOST_LINKS} sound files: divide it")
    first = Window(file, *links[0])
    try:
        opened = _Sequential(first)
    except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:
        return iter([_contained(Window(file, *link), path, error) for link in links])
    others = (_link(Window(file, start, end), path, start) for start, end in links[1:])
    return chain([_read(opened, first, path)], others)


def _contained(window: Window, path: Path, refused: Exception) -> Iterator[tuple[Samples, int]]:
    yield from containers.pieces(window, path, refused)
    if window.failure is not None:
        raise FileError(f"cannot read {shown(path)}: {why(window.failure)}")


def _link(window: Window, path: Path, start: int) -> Iterator[tuple[Samples, int]]:
    try:
        opened = _Sequential(window)
    except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:
        raise FileError(f"{shown(path)} is damaged from byte {start} on: {error}") from error
    return _read(opened, window, path)


def _read(sound: soundfile.SoundFile, window: Window, path: Path) -> Iterator[tuple[Samples, int]]:
    rate, channels = int(sound.samplerate), int(sound.channels)
    frames = max(1, min(rate, MOST_PIECE // channels))
    if window.there < 1:
        sentence = "%s was cut off: it is read up to there, %.0f %% of what its header speaks of"
        log.warning(sentence, shown(path), 100 * window.there)
    with sound:
        while True:
            try:
                piece = sound.read(frames, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise FileError(f"{shown(path)} is damaged: {error}") from error
            if window.failure is not None:
                raise FileError(f"cannot read {shown(path)}: {why(window.failure)}")
            if not len(piece):
                return
            yield containers.mixed(piece), rate
