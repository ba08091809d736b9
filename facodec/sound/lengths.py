"""Lengths in headers of sound files beside what is there: whoever wrote the file was ended before
it wrote the length, or the file was cut off."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

UNSAID = 0x7FFF0000
"""Lengths from this on are written where none is known: up to the end."""
LONGEST = b"\xff\xff\xff\xff"
TAIL = 1024
"""Bytes after the end that may be anything (padding, tags); more that are no chunk are sound."""
MOST_CHUNKS = 1000
CHUNK = 8
TAGS = (
    *(b"TAG", b"ID3", b"APETAGEX", b"LIST", b"id3 ", b"bext", b"iXML", b"axml", b"JUNK", b"junk"),
    *(b"FLLR", b"PAD ", b"PEAK", b"cue ", b"smpl", b"inst", b"acid", b"_PMX", b"MARK", b"COMT"),
    *(b"INST", b"APPL", b"NAME", b"AUTH", b"ANNO", b"(c) "),
)
"""Beginnings of what follows samples, cut off or not."""
AIFF_OFFSETS = 8
"""Bytes before the samples in an AIFF file's chunk of sound."""
AU_LENGTH, AU_HEAD, DS64_LENGTH = 8, 24, 28
SDS_HEAD, SDS_PACKET, SDS_DATA, SDS_LENGTH = 21, 127, 120, 10
MAT4_HEAD, MAT4_WIDTHS = 20, (8, 4, 4, 2, 2, 1)
"""Bytes of a matrix's header, and of its numbers by the tens digit of the first number there."""


@dataclass(frozen=True)
class Length:
    """Verdict on a header. ``amended``: what it should say, by offset; ``there``: the share of the
    sound it speaks of that is there, 1 where all is."""

    amended: dict[int, bytes] = field(default_factory=dict)
    there: float = 1.0


class _View:
    """Bytes of one sound file that lies in ``file``."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start, self.size = file, start, end - start

    def read(self, at: int, count: int) -> bytes:
        """Bytes from ``at`` on; zeros follow after the end."""
        self._file.seek(self._start + at)
        return self._file.read(max(0, min(count, self.size - at))).ljust(count, b"\0")


def look(file: BinaryIO, start: int, end: int) -> Length:
    """Compares the length in the header of the sound file in these bytes with what is there."""
    view = _View(file, start, end)
    head = view.read(0, 12)
    for magic, kind, looker in LOOKERS:
        if head.startswith(magic) and head[8:].startswith(kind):
            return looker(view)
    if head[:4] in MAT4_MARKS:
        return _of_mat4(view)
    return Length()


def _of_wav(view: _View) -> Length:
    for at, name, said in _chunks(view, 12, "<I"):
        if name == b"data":
            there = view.size - at - CHUNK
            if not said or (said < there and _is_sound(view, at + CHUNK + said, "<I")):
                return Length({at + 4: LONGEST})
            return _cut(said, there)
    return Length()


def _of_rf64(view: _View) -> Length:
    """Its data chunk says no length; that of a chunk before does, in 64 bits."""
    for at, name, _ in _chunks(view, 12, "<I"):
        if name == b"data":
            there = view.size - at - CHUNK
            (said,) = struct.unpack("<Q", view.read(DS64_LENGTH, 8))
            if said < there and _is_sound(view, at + CHUNK + said, "<I"):
                return Length({DS64_LENGTH: struct.pack("<Q", there)})
            return _cut(said, there, unsaid=1 << 62)
    return Length()


def _of_aiff(view: _View) -> Length:
    common = None
    for at, name, said in _chunks(view, 12, ">I"):
        if name == b"COMM":
            common = at + CHUNK
        if name == b"SSND" and common is not None:
            there = view.size - at - CHUNK
            if said >= there or not _is_sound(view, at + CHUNK + said, ">I"):
                return _cut(said, there)
            most = struct.pack(">I", UNSAID)
            return Length(
                {4: most, common + 2: most, at + 4: struct.pack(">I", min(there, UNSAID))}
            )
    return Length()


def _of_au(view: _View) -> Length:
    head, said = struct.unpack(">II", view.read(4, 8))
    there = view.size - head
    if head >= AU_HEAD and (not said or said + TAIL < there):
        return Length({AU_LENGTH: LONGEST})
    return _cut(said, there)


def _of_sds(view: _View) -> Length:
    bits = view.read(6, 1)[0]
    each = SDS_DATA // max(2, -(-bits // 7))
    low, middle, high = view.read(SDS_LENGTH, 3)
    said = low | middle << 7 | high << 14
    packets, most = 0, (1 << 21) // each + 1
    while packets < most and view.read(SDS_HEAD + packets * SDS_PACKET, 4)[::3] == b"\xf0\x02":
        packets += 1
    there = min(each * min(packets, max(0, view.size - SDS_HEAD) // SDS_PACKET), (1 << 21) - 1)
    if there - each < said <= there:
        return Length()
    right = bytes((there & 127, there >> 7 & 127, there >> 14))
    return Length({SDS_LENGTH: right}, min(1.0, there / max(1, said)))


def _of_mat4(view: _View) -> Length:
    """The second matrix is the sound; the first one holds its rate."""
    order = ">" if view.read(0, 1) == b"\0" and view.read(0, 4) != bytes(4) else "<"
    first = _matrix(view, 0, order)
    second = None if first is None else _matrix(view, first[0], order)
    if first is None or second is None:
        return Length()
    end, data, rows, width = second
    if view.size < end:
        return _cut(end - data, view.size - data)
    if view.size - end <= TAIL or _matrix(view, end, order) is not None:
        return Length()
    columns = (view.size - data) // max(1, rows * width)
    return Length({first[0] + 8: struct.pack(f"{order}i", min(columns, UNSAID))})


def _matrix(view: _View, at: int, order: str) -> tuple[int, int, int, int] | None:
    """End and begin of a matrix's numbers, its rows, and bytes a number; None for what is none."""
    kind, rows, columns, imaginary, named = struct.unpack(f"{order}5i", view.read(at, MAT4_HEAD))
    digit = kind % 1000 // 10
    if kind % 10 or kind // 1000 != (order == ">") or digit >= len(MAT4_WIDTHS) or imaginary:
        return None
    if not (0 < named <= 64 and 0 < rows <= 1024 and columns >= 0):
        return None
    data, width = at + MAT4_HEAD + named, MAT4_WIDTHS[digit]
    return data + rows * columns * width, data, rows, width


def _chunks(view: _View, at: int, order: str) -> Iterator[tuple[int, bytes, int]]:
    """Place, name and said length of the chunks from ``at`` on, up to one that is none."""
    for _ in range(MOST_CHUNKS):
        name, said = view.read(at, 4), struct.unpack(order, view.read(at + 4, 4))[0]
        if at > view.size - CHUNK or not (name.isascii() and name.decode().isprintable()):
            return
        yield at, name, said
        at += CHUNK + said + said % 2


def _is_sound(view: _View, at: int, order: str) -> bool:
    """Whether what follows the samples, as the header has them, goes on with samples: it is more
    than a tail may be, and no chunk that fits."""
    places = (at, at + at % 2)
    if view.size - at <= TAIL or any(view.read(each, 8).startswith(TAGS) for each in places):
        return False
    return not any(
        place + CHUNK + said <= view.size
        for begin in places
        for place, _, said in [next(_chunks(view, begin, order), (view.size, b"", 0))]
    )


def _cut(said: int, there: int, unsaid: int = UNSAID) -> Length:
    return Length(there=1.0 if said >= unsaid or said <= there else max(0, there) / max(1, said))


MAT4_MARKS = tuple(struct.pack("<i", kind) for kind in (0, 10, 20, 30, 40)) + tuple(
    struct.pack(">i", 1000 + kind) for kind in (0, 10, 20, 30, 40)
)
"""First bytes of MATLAB 4 files: the kind of the numbers, in their order of bytes."""
LOOKERS: list[tuple[bytes, bytes, Callable[[_View], Length]]] = [
    (b"RIFF", b"WAVE", _of_wav),
    (b"RF64", b"WAVE", _of_rf64),
    (b"FORM", b"AIF", _of_aiff),
    (b".snd", b"", _of_au),
    (b"\xf0\x7e", b"", _of_sds),
]
"""Beginnings of files, what stands 8 bytes on, and who looks at them."""
