"""Phones and their times, where a transcript is known: forced alignment by pocketsphinx.

Transcripts are text files beside the recordings (``a.txt`` for ``a.wav``), or the columns ``path``
and ``text`` of a tab-separated ``manifest.tsv`` in or beside the folder. English only, as the
dictionary that comes with pocketsphinx is; what it cannot align counts as unknown.
"""

from __future__ import annotations

import csv
import io
import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.config import HOP, SAMPLE_RATE
from facodec.files import LARGEST_TEXT, need_plain, read_text
from facodec.reasons import FileError, shown

MANIFEST = "manifest.tsv"
LARGEST_TRANSCRIPT = 1 << 20
UNKNOWN = -1
CMUDICT = (
    "SIL AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH "
    "UW V W Y Z ZH"
)
PHONES = CMUDICT.split()
"""The phones of CMUdict, and silence."""
ALIGNED_RATE = 100
"""Frames a second that pocketsphinx counts in."""

Phones = NDArray[np.int8]


def read_manifest(folder: Path) -> list[dict[str, str]]:
    """Rows of the ``manifest.tsv`` in the folder or beside it, ``path`` made absolute where there
    is one; none without it. Raises FileError for one that is no table."""
    for path in (folder / MANIFEST, folder.absolute().parent / MANIFEST):
        if os.path.lexists(path):
            need_plain(path)
            lines = io.StringIO(read_text(path, LARGEST_TEXT), newline="")
            rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            try:
                return [_located({k: v or "" for k, v in row.items() if k}, path) for row in rows]
            except (csv.Error, ValueError) as error:
                raise FileError(f"{shown(path)} is damaged: {error}") from error
    return []


def _located(row: dict[str, str], manifest: Path) -> dict[str, str]:
    if "path" in row:
        row["path"] = str((manifest.parent / row["path"]).resolve())
    return row


def find_transcripts(folder: Path, files: list[Path]) -> dict[Path, str]:
    """The files that have a transcript, and it."""
    listed = {row["path"]: row.get("text", "") for row in read_manifest(folder) if "path" in row}
    found = {}
    for path in files:
        beside = path.with_suffix(".txt")
        text = listed.get(str(path.resolve()), "")
        if os.path.lexists(beside):
            need_plain(beside)
            text = read_text(beside, LARGEST_TRANSCRIPT)
        if text.strip():
            found[path] = text
    return found


def can_align() -> bool:
    """Whether pocketsphinx is installed."""
    return find_spec("pocketsphinx") is not None


def align(audio: NDArray[np.int16], text: str) -> Phones:
    """audio (200 T,) at 16 kHz and what is said in it -> for each frame the place in
    :data:`PHONES` of what sounds at its middle, or -1 where it cannot be told."""
    frames = len(audio) // HOP
    phones = np.full(frames, UNKNOWN, dtype=np.int8)
    words = re.sub(r"[^a-z' ]+", " ", text.lower()).split()
    if not words or not (aligned := _align(audio.tobytes(), " ".join(words))):
        return phones
    middles = (np.arange(frames) + 0.5) * HOP / SAMPLE_RATE * ALIGNED_RATE
    for name, start, length in aligned:
        if name in PHONES:
            phones[(middles >= start) & (middles < start + length)] = PHONES.index(name)
    return phones


def _align(pcm: bytes, text: str) -> list[tuple[str, int, int]]:
    """Phones, the frames they start at and last; nothing if a word is unknown or does not fit."""
    decoder = _decoder()
    try:
        decoder.set_align_text(text)
        _hear(decoder, pcm)  # the words first,
        decoder.set_alignment()
        _hear(decoder, pcm)  # then the phones in them
        words = decoder.get_alignment() or ()
        return [(phone.name, phone.start, phone.duration) for word in words for phone in word]
    except RuntimeError:
        return []


def _hear(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


@cache
def _decoder() -> Any:
    from pocketsphinx import Decoder

    return Decoder(lm=None, loglevel="FATAL", bestpath=False)
