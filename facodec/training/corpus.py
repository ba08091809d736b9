"""Any folder of speech -> one packed corpus: int16 samples, pitch tracks, phones, speakers.

``DIR/<speaker>/*.wav`` (or flac, ogg, opus, mp3) gives speakers; files straight in ``DIR`` count
as a speaker each. Phones are known where transcripts are (:mod:`facodec.training.phones`). Packing
happens once; the result is a folder of a few arrays.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from facodec.config import HOP, SAMPLE_RATE
from facodec.files import LARGEST_TEXT, Replacement, need_plain, need_speech, read_json, write_text
from facodec.reasons import FileError, shown, why
from facodec.sound.reading import LONGEST, AudioReader, read_audio
from facodec.training.phones import UNKNOWN, Phones, align, can_align, find_transcripts
from facodec.training.pitch import track_pitch

SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
SHORTEST = SAMPLE_RATE // 2
"""Samples; shorter files are left out."""
FORMAT = 3
"""Raised when the packed layout or the pitch teacher changes, so that caches are rebuilt."""


@dataclass(frozen=True)
class Corpus:
    """samples int16 (N,), all utterances one after the other; pitch float32 (N / 200,) Hz at each
    frame's start, 0 where unvoiced; phones int8 (N / 200,), -1 where unknown; starts, lengths (U,)
    in frames; speakers (U,) numbers."""

    samples: NDArray[np.int16]
    pitch: NDArray[np.float32]
    phones: Phones
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    speakers: NDArray[np.int64]

    @property
    def hours(self) -> float:
        return float(self.lengths.sum()) * HOP / SAMPLE_RATE / 3600


def find_files(folder: Path) -> list[Path]:
    """Audio files below ``folder``, sorted; an empty or missing folder is a ValueError. Folders
    that cannot be read are left out, by name."""
    need_speech(folder)
    walk = os.walk(
        folder, onerror=lambda error: leave_out(f"{shown(error.filename)}: {why(error)}")
    )
    there = (Path(parent, name) for parent, _, names in walk for name in names)
    found = sorted(path for path in there if path.suffix.lower() in SUFFIXES)
    if not found:
        wanted = ", ".join(sorted(SUFFIXES))
        raise ValueError(f"no speech below {shown(folder)}: expected files ending in {wanted}")
    return found


def read_speech(path: Path) -> NDArray[np.float32]:
    """A file as mono float32 at 16 kHz, cut to whole frames. Raises FileError."""
    need_plain(path)
    mono = read_audio(path, LONGEST)
    return mono[: len(mono) // HOP * HOP]


def need_opening(path: Path) -> None:
    """Raises FileError for a file whose first second cannot be read."""
    need_plain(path)
    AudioReader(path).close()


def read_each(files: Iterable[Path]) -> Iterator[tuple[Path, NDArray[np.float32]]]:
    """Speech of each of the files; one that cannot be read is left out, by name."""
    for path in files:
        try:
            yield path, read_speech(path)
        except FileError as error:
            leave_out(error)


def leave_out(reason: object) -> None:
    """Says on standard error why a file is left out."""
    print(f"left out: {reason}", file=sys.stderr, flush=True)


def listing_of(folder: Path, files: Iterable[Path]) -> list[str]:
    """Names and sizes of files, a line each, by which packed ones are found again."""
    return [f"{path.relative_to(folder)} {_size(path)}" for path in files]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link to nothing, which is left out
        return 0


@dataclass(frozen=True)
class _Prepared:
    samples: NDArray[np.int16]
    pitch: NDArray[np.float32]
    phones: Phones


def _prepare(path: Path, text: str | None) -> _Prepared | str | int:
    """Prepares a file for packing: its samples if they are too few, and a sentence if it is
    damaged."""
    torch.set_num_threads(1)
    try:
        samples = read_speech(path)
    except FileError as error:
        return str(error)
    if len(samples) < SHORTEST:
        return len(samples)
    integers = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)
    # Half a hop early: the frame's sub-frames lie around its start, and less has to be foreseen.
    pitch = track_pitch(np.pad(samples, (HOP // 2, 0))[: len(samples)])
    unknown = np.full(len(pitch), UNKNOWN, dtype=np.int8)
    return _Prepared(integers, pitch, align(integers, text) if text else unknown)


def pack(folder: Path, cache: Path, workers: int = 2) -> Corpus:
    """Pack the speech below ``folder`` into a sub-folder of ``cache``, or open what is there."""
    files = find_files(folder)
    texts = find_transcripts(folder, files) if can_align() else {}
    lines = zip(listing_of(folder, files), files, strict=True)
    listing = "\n".join(f"{line} {texts.get(path, '')}" for line, path in lines)
    names = f"{FORMAT}\n{listing}".encode("utf-8", "surrogateescape")
    key = hashlib.sha256(names).hexdigest()[:12]
    target = cache / f"{folder.name}-{key}"
    if not (target / "index.json").exists():
        with made_whole(target):
            _write(folder, files, texts, target, workers)
    return open_packed(target)


def open_packed(target: Path) -> Corpus:
    """Open what :func:`pack` wrote, memory-mapped."""
    index = read_json(target / "index.json", LARGEST_TEXT)
    return Corpus(
        samples=np.load(target / "samples.npy", mmap_mode="r"),
        pitch=np.load(target / "pitch.npy"),
        phones=np.load(target / "phones.npy"),
        **{k: np.array(index[k], dtype=np.int64) for k in ("starts", "lengths", "speakers")},
    )


@contextmanager
def made_whole(folder: Path) -> Iterator[None]:
    """A folder that is made now, before the work that fills it; where that fails, it is gone again,
    as are those made for it."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # others may have put something there meanwhile
            for each in made[1:]:
                each.rmdir()
        raise


def too_short(folder: Path, least: int, longest: int) -> ValueError:
    """The error of a folder whose files hold ``longest`` samples at most, where ``least`` are
    needed."""
    return ValueError(
        f"too little speech below {shown(folder)}: expected a file of at least "
        f"{least / SAMPLE_RATE:g} s, got none that can be read of more than "
        f"{longest / SAMPLE_RATE:.2g} s"
    )


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Writes an array as NumPy does, wholly or not at all. Raises FileError."""
    with Replacement(path) as aside:
        np.save(aside, array)


def _write(
    folder: Path, files: list[Path], texts: dict[Path, str], target: Path, workers: int
) -> None:
    utterances, speakers, longest = [], [], 0
    names: dict[str, int] = {}
    for path, prepared in _prepared(files, texts, workers):
        if isinstance(prepared, str):
            leave_out(prepared)
            continue
        if isinstance(prepared, int):
            longest = max(longest, prepared)
            continue
        name = path.parent.name if path.parent != folder else path.stem
        utterances.append(prepared)
        speakers.append(names.setdefault(name, len(names)))
    if not utterances:
        raise too_short(folder, SHORTEST, longest)
    for part in ("samples", "pitch", "phones"):
        whole = np.concatenate([getattr(u, part) for u in utterances])
        write_array(target / f"{part}.npy", whole)
    lengths = [len(u.pitch) for u in utterances]
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])).tolist()
    index = {"starts": starts, "lengths": lengths, "speakers": speakers, "names": list(names)}
    write_text(target / "index.json", json.dumps(index))


def _prepared(
    files: list[Path], texts: dict[Path, str], workers: int
) -> Iterator[tuple[Path, _Prepared | str | int]]:
    with ProcessPoolExecutor(max_workers=workers) as pool:
        results = pool.map(_prepare, files, [texts.get(path) for path in files], chunksize=8)
        pairs = zip(files, results, strict=True)
        yield from tqdm(pairs, total=len(files), desc="packing", unit="file", disable=None)
