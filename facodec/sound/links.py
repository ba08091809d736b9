"""Boundaries of sound files that lie in one file, one after the other: chained Ogg streams
(internet radio), and files of other kinds written into one, whose readers would stop where the
first one's header says that it ends."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from typing import Any, BinaryIO

from facodec.sound.lengths import look

PAGE, FIRST_PAGE = b"OggS", 0x02
"""Start of an Ogg page, and the flag of one that begins a stream (RFC 3533)."""
PAGE_HEADER = 27
FLAC = b"fLaC\x00\x00\x00\x22"
"""Start of a FLAC stream: the marker and the header of STREAMINFO, 34 bytes (RFC 9639)."""
FLAC_LAST = b"fLaC\x80\x00\x00\x22"
"""Beginning of FLAC where no other metadata block follows."""
RIFF, WAVE, RIFF_HEAD = b"RIFF", b"WAVE", 12
WAVS, DS64 = (RIFF, b"RF64", b"BW64"), 20
"""Kinds of WAV files, and where those that may be larger than 4 GB have their length."""
ATOM, ATOM_FIRST = 8, b"ftyp"
"""An MP4 file's atoms: bytes of length and kind, and the kind of the first (ISO 14496-12)."""
CAF, CAF_HEAD, CHUNK_HEAD = b"caff", 8, 12
AU, AU_HEAD, AU_UNSAID = b".snd", 24, 0xFFFFFFFF
W64, W64_HEAD = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00", 24
"""First bytes of a Sony Wave64 file: a GUID; its length follows."""
MP3_COUNTS = (b"Xing", b"Info")
"""Marks of a first frame that says how many follow ..."""
MP3_BEFORE = (36, 21, 13)
"""... and bytes from that frame's start to them, by version and channels."""
MOST_LINKS = 10_000
AIFF, AIFF_KINDS = b"FORM", (b"AIFF", b"AIFC")
FLAC_TAG = 128
"""Bytes of a tag (ID3v1) that some programs put after FLAC, whose reader calls it damage."""


def find_links(file: BinaryIO) -> list[tuple[int, int]]:
    """Start and end, in bytes, of each sound file in ``file``; one for nearly all files, and never
    more than :data:`MOST_LINKS` and one."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        return []
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts = [0, *_later_starts(data, size)]
        if data[:4] == FLAC[:4] and data[-FLAC_TAG:][:3] == b"TAG":
            size -= FLAC_TAG
    return list(zip(starts, [*starts[1:], size], strict=True))


class Window(RawIOBase):
    """The bytes ``start`` to ``end`` of a file as a file of their own. ``failure``: why reading
    stopped early, as libsndfile does not pass errors on; ``there``: the share of the sound that its
    header speaks of. A length there that is too short is read as the true one."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        super().__init__()
        self.failure: OSError | None = None
        self._file, self._start, self._end, self._at = file, start, end, 0
        length = look(file, start, end)
        self._amended, self.there = length.amended, length.there

    def readinto(self, buffer: Any) -> int:
        left = max(0, self._end - self._start - self._at)
        wanted = memoryview(buffer).cast("B")[:left]
        try:
            self._file.seek(self._start + self._at)
            got = self._file.readinto(wanted)  # type: ignore[attr-defined]
        except OSError as error:
            self.failure = error
            return 0
        for first, right in self._amended.items():
            for place, value in enumerate(right, first - self._at):
                if 0 <= place < got:
                    wanted[place] = value
        self._at += got
        return int(got)

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        base = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._end - self._start}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _later_starts(data: mmap.mmap, size: int) -> list[int]:
    if data[:4] == PAGE:
        return _ogg_starts(data, size)
    if data[:4] == FLAC[:4]:
        return _flac_starts(data)
    if data[:4] in WAVS:
        return _joined(data, size - RIFF_HEAD, _after_wav)
    if data[:4] == AIFF and data[8:12] in AIFF_KINDS:
        return _joined(data, size - RIFF_HEAD, _after_aiff)
    if data[4:8] == ATOM_FIRST:
        return _mp4_starts(data, size)
    if data[:4] == CAF:
        return _caf_starts(data, size)
    if data[:4] == AU:
        return _joined(data, size - AU_HEAD, _after_au)
    if data[:16] == W64:
        return _joined(data, size - W64_HEAD, _after_w64)
    if data[:3] == b"ID3" or _is_mp3_frame(data, 0):
        return _mp3_starts(data)
    return []


def _ogg_starts(data: mmap.mmap, size: int) -> list[int]:
    """A first page after pages that are none begins a link; what lies between pages is passed."""
    starts: list[int] = []
    at, beginning = 0, True
    while 0 <= at <= size - PAGE_HEADER and len(starts) < MOST_LINKS:
        first = bool(data[at + 5] & FIRST_PAGE)
        if first and not beginning:
            starts.append(at)
        beginning = first
        table = data[at + PAGE_HEADER : at + PAGE_HEADER + data[at + 26]]
        at += PAGE_HEADER + len(table) + sum(table)
        if data[at : at + 4] != PAGE:
            at = data.find(PAGE, at)
    return starts


def _flac_starts(data: mmap.mmap) -> list[int]:
    found: list[int] = []
    for marker in (FLAC, FLAC_LAST):
        at = data.find(marker, 1)
        while at >= 0 and len(found) < MOST_LINKS:
            found.append(at)
            at = data.find(marker, at + 1)
    return sorted(found)


def _joined(
    data: mmap.mmap, last: int, following: Callable[[mmap.mmap, int], int | None]
) -> list[int]:
    """Beginnings of the files after the first, each of which says where it ends: ``following``
    gives from the beginning of one that of the next, None where there is none. ``last``: the last
    place, in bytes, where one may begin."""
    starts: list[int] = []
    at: int | None = 0
    while at is not None and at <= last and len(starts) < MOST_LINKS:
        at = following(data, at)
        if at is not None:
            starts.append(at)
    return starts


def _after_wav(data: mmap.mmap, at: int) -> int | None:
    (length,) = struct.unpack_from("<I", data, at + 4)
    if data[at : at + 4] != RIFF and at <= len(data) - DS64 - 8:
        (length,) = struct.unpack_from("<Q", data, at + DS64)
    at += 8 + length
    if data[at : at + 4] not in WAVS:  # not all writers fill up to even lengths
        at += length % 2
    return at if data[at : at + 4] in WAVS and data[at + 8 : at + 12] == WAVE else None


def _after_aiff(data: mmap.mmap, at: int) -> int | None:
    (length,) = struct.unpack_from(">I", data, at + 4)
    at += 8 + length
    if data[at : at + 4] != AIFF:
        at += length % 2
    return at if data[at : at + 4] == AIFF and data[at + 8 : at + 12] in AIFF_KINDS else None


def _after_au(data: mmap.mmap, at: int) -> int | None:
    head, length = struct.unpack_from(">II", data, at + len(AU))
    at += head + length
    said = length != AU_UNSAID and head
    return at if said and data[at : at + len(AU)] == AU else None


def _after_w64(data: mmap.mmap, at: int) -> int | None:
    (length,) = struct.unpack_from("<Q", data, at + len(W64))
    at += length
    return at if length and data[at : at + len(W64)] == W64 else None


def _mp4_starts(data: mmap.mmap, size: int) -> list[int]:
    starts: list[int] = []
    at = 0
    while at <= size - ATOM and len(starts) < MOST_LINKS:
        if at and data[at + 4 : at + 8] == ATOM_FIRST:
            starts.append(at)
        (length,) = struct.unpack_from(">I", data, at)
        if length == 1 and at <= size - 2 * ATOM:
            (length,) = struct.unpack_from(">Q", data, at + ATOM)
        if length < ATOM:  # to the end of the file, or nonsense
            break
        at += length
    return starts


def _caf_starts(data: mmap.mmap, size: int) -> list[int]:
    starts: list[int] = []
    at = CAF_HEAD
    while at <= size - CHUNK_HEAD and len(starts) < MOST_LINKS:
        if data[at : at + 4] == CAF:
            starts.append(at)
            at += CAF_HEAD
            continue
        (length,) = struct.unpack_from(">q", data, at + 4)
        if length < 0:  # to the end of the file
            break
        at += CHUNK_HEAD + length
        if data[at + 1 : at + 1 + len(CAF)] == CAF:  # some fill up to an even length
            at += 1
    return starts


def _mp3_starts(data: mmap.mmap) -> list[int]:
    """All first frames that count others, but for the first such."""
    found: list[int] = []
    for marker in MP3_COUNTS:
        at = data.find(marker)
        while at >= 0 and len(found) < MOST_LINKS:
            found += [at - n for n in MP3_BEFORE if at >= n and _is_mp3_frame(data, at - n)][:1]
            at = data.find(marker, at + 1)
    return sorted(found)[1:]


def _is_mp3_frame(data: mmap.mmap, at: int) -> bool:
    """Whether a frame header of MPEG layer III may stand there."""
    head = data[at : at + 4]
    return len(head) == 4 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] < 0xF0
