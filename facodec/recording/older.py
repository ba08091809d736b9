"""Files of versions 1 and 2: one header, all codes, and from version 2 on a checksum over both."""

from __future__ import annotations

import numpy as np

from facodec.bitstream import Codes, check_size, packed_size, unpack
from facodec.config import CODE_LAYERS, HOP, MIN_LAYERS
from facodec.identity import ModelIdentity
from facodec.recording.blocks import (
    CHECKSUM,
    LARGEST_HEADER,
    LENGTH,
    MOST_SAMPLES,
    Timbre,
    checksum,
    model_in,
    read_map,
    read_timbre,
    whole,
)

FIRST_MAGIC, SECOND_MAGIC = b"FACODEC\x01", b"FACODEC\x02"
MOST_FRAMES = MOST_SAMPLES // HOP
PART = 8_000
"""Frames unpacked at a time; four frames are whole bytes for any number of layers."""
LARGEST_FILE = 4 * LARGEST_HEADER + packed_size(CODE_LAYERS, MOST_FRAMES)


def parse(data: bytes) -> tuple[Codes, Timbre, ModelIdentity, int]:
    """Codes (K, n), timbre (256,), model and samples of a whole file. Raises ValueError."""
    if data.startswith(SECOND_MAGIC):
        content, found = data[:-CHECKSUM], data[-CHECKSUM:]
        if len(data) < len(SECOND_MAGIC) + CHECKSUM or checksum(content) != found:
            raise ValueError("its checksum does not fit its content")
        data = content
    start = len(FIRST_MAGIC) + LENGTH.size
    if len(data) < start:
        raise ValueError(f"expected a header, got {len(data)} bytes")
    (size,) = LENGTH.unpack(data[len(FIRST_MAGIC) : start])
    if size > LARGEST_HEADER:
        raise ValueError(f"expected a header of at most {LARGEST_HEADER} bytes, got {size}")
    fields = read_map(data[start : start + size])
    model, timbre = model_in(fields), fields.get("timbre")
    layers = whole(fields.get("layers"), MIN_LAYERS, CODE_LAYERS, "layers")
    frames = whole(fields.get("frames"), 1, MOST_FRAMES, "frames")
    samples = whole(fields.get("samples"), 1, frames * HOP, "samples")
    if not isinstance(timbre, bytes):
        raise ValueError(f"expected a timbre as bytes, got {type(timbre).__name__}")
    codes = _unpack_long(memoryview(data)[start + size :], layers, frames)
    return codes, read_timbre(timbre), model, samples


def _unpack_long(data: memoryview, layers: int, frames: int) -> Codes:
    """Codes a part of whole bytes at a time: memory stays near the codes' own."""
    check_size(len(data), layers, frames)
    codes = np.empty((layers, frames), dtype=np.int64)
    for at in range(0, frames, PART):
        count = min(PART, frames - at)
        start = packed_size(layers, at)
        part = bytes(data[start : start + packed_size(layers, count)])
        codes[:, at : at + count] = unpack(part, layers, count)
    return codes
