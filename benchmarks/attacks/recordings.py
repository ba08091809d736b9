"""``.fac`` files to be damaged, of every version, and all that reads them."""

from __future__ import annotations

import struct
from pathlib import Path

import msgpack
import numpy as np

from facodec.bitstream import pack
from facodec.identity import ModelIdentity
from facodec.reasons import FileError
from facodec.recording.blocks import (
    CHECKSUM,
    HEAD,
    LENGTH,
    MAGIC,
    MARK,
    Header,
    checksum,
)
from facodec.recording.reading import Recording, survey
from facodec.recording.scan import Lost
from facodec.recording.summary import summarise
from facodec.recording.whole import FacFile
from facodec.recording.writing import RecordingFile

SEALED = ".sealed"
"""Suffix of files whose checksums are made to fit again after they were damaged."""
MODEL = ModelIdentity("live", "0123456789ab")
VOICE = np.full(256, 0.1, np.float32)
_SIZE = struct.Struct("<H")
_SIZE_AT, _CHECKED = 12, 22
"""Offset of the size in the head of a block, and the number of bytes that are checked."""


def whole_files(folder: Path) -> list[tuple[str, bytes]]:
    """One voice, no gaps, in all three versions."""
    path = folder / "example.fac"
    codes = np.random.default_rng(0).integers(0, 1024, (6, 40))
    FacFile(codes, VOICE, MODEL, 7_900).write(path)
    older = [(".fac", _older(version, codes)) for version in (1, 2)]
    return [(".fac", path.read_bytes()), *older]


def streams(folder: Path) -> list[tuple[str, bytes]]:
    """Gaps, several voices and blocks, with an end and without."""
    path = folder / "example.fac"
    draw = np.random.default_rng(0)
    with RecordingFile(path, Header(MODEL, started=1_700_000_000)) as file:
        for part in range(5):
            file.voice(VOICE * part, exact=part % 2 == 0)
            codes = draw.integers(0, 1024, (3 + part % 4, 30))
            file.push(codes, file.position + 1_000 * part)
    data = path.read_bytes()
    return [(".fac", data), (SEALED, data), (SEALED, data[: -HEAD - CHECKSUM])]


def read_stream(path: Path) -> object:
    """Reads a file as ``info``, ``decode --from`` and ``listen --append`` do. Raises FileError for
    one that is not whole."""
    if path.suffix == SEALED:
        path.write_bytes(sealed(path.read_bytes()))
    with Recording(path) as recording:
        found = summarise(recording)
    found.lines()
    found.to_json()
    survey(path, found.samples // 2)
    with Recording(path) as recording:
        for _ in recording.items(found.samples // 2):
            pass
    with RecordingFile(path, Header(MODEL), append=True) as file:
        file.push(np.zeros((6, 1), np.int64))
    with Recording(path) as recording:
        lost = [item for item in recording.items() if isinstance(item, Lost)]
        if any(item.cut for item in lost) or not recording.ended:
            raise AssertionError(f"not whole after appending: {lost}")
    if found.lost:
        raise FileError(str(found.lost[0]))
    return found


def sealed(data: bytes) -> bytes:
    """Returns the recording with checksums that fit, so that what they protect is looked at too."""
    out = bytearray(data)
    start = len(MAGIC) + LENGTH.size
    if len(out) >= start:
        (size,) = LENGTH.unpack_from(out, len(MAGIC))
        _seal(out, 0, start + size, CHECKSUM)
    at = out.find(MARK)
    while at >= 0:
        if at + HEAD <= len(out):
            _seal(out, at, at + _CHECKED, HEAD - _CHECKED)
            (size,) = _SIZE.unpack_from(out, at + _SIZE_AT)
            _seal(out, at, at + HEAD + size, CHECKSUM)
        at = out.find(MARK, at + 1)
    return bytes(out)


def _seal(data: bytearray, start: int, end: int, size: int) -> None:
    if end + size <= len(data):
        data[end : end + size] = checksum(bytes(data[start:end]), size)


def _older(version: int, codes: np.ndarray) -> bytes:
    header = {
        "model": MODEL.name, "identity": str(MODEL), "layers": len(codes),
        "frames": codes.shape[1], "samples": 7_900, "timbre": VOICE.astype("<f4").tobytes(),
    }  # fmt: skip
    packed: bytes = msgpack.packb(header)
    data = b"FACODEC" + bytes([version]) + LENGTH.pack(len(packed)) + packed + pack(codes)
    return data + (checksum(data) if version == 2 else b"")
