"""Frames as bits: 10 bits a code, frame by frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facodec.config import CODE_BITS, CODE_LAYERS, CODEBOOK_SIZE, MIN_LAYERS

Codes = NDArray[np.int64]
FEW = 48
"""Codes of one or of eight frames."""


def packed_size(layers: int, frames: int) -> int:
    """Bytes that ``frames`` frames of ``layers`` codes take: 10 bits a code, whole bytes."""
    return (layers * frames * CODE_BITS + 7) // 8


def check_codes(codes: NDArray[np.integer]) -> Codes:
    """codes (K, n), K = 3..6, values 0..1023, as int64; anything else is a ValueError."""
    array = np.asarray(codes)
    if array.ndim != 2 or not MIN_LAYERS <= array.shape[0] <= CODE_LAYERS:
        raise ValueError(
            f"expected codes (K, frames) with K = 3..6 layers, got shape {array.shape}"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"expected codes as integers, got {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= CODEBOOK_SIZE):
        raise ValueError(f"expected codes in 0..1023, got {array.min()} to {array.max()}")
    return array.astype(np.int64, copy=False)


def pack(codes: NDArray[np.integer]) -> bytes:
    """codes (K, n) -> 10 K n bits, most significant first, padded with zeros to a byte."""
    if 0 < codes.size <= FEW and codes.ndim == 2 and codes.dtype.kind in "iu":
        values = codes.T.ravel().tolist()
        right = MIN_LAYERS <= len(codes) <= CODE_LAYERS
        if right and min(values) >= 0 and max(values) < CODEBOOK_SIZE:
            return _pack_few(values)
    frames_first = check_codes(codes).T.reshape(-1, 1).astype(np.uint16)
    places = np.arange(CODE_BITS - 1, -1, -1, dtype=np.uint16)
    bits = (frames_first >> places) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def _pack_few(values: list[int]) -> bytes:
    """For every frame and listener of a server: several times as fast as arrays for so few."""
    bits = 0
    for value in values:
        bits = bits << CODE_BITS | value
    size = packed_size(1, len(values))
    return (bits << 8 * size - CODE_BITS * len(values)).to_bytes(size, "big")


def is_padded(data: bytes, layers: int, frames: int) -> bool:
    """Whether packed codes are as :func:`pack` makes them, with zeros after the last."""
    unused = 8 * len(data) - layers * frames * CODE_BITS
    return not data or not data[-1] & (1 << unused) - 1


def check_size(size: int, layers: int, frames: int) -> None:
    """Raises ValueError unless ``size`` bytes hold so many packed codes."""
    wanted = packed_size(layers, frames)
    if size != wanted:
        raise ValueError(
            f"expected {wanted} bytes for {frames} frames of {layers} layers, got {size}"
        )


def unpack(data: bytes, layers: int, frames: int) -> Codes:
    """Inverse of :func:`pack`: codes (layers, frames)."""
    check_size(len(data), layers, frames)
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))[: layers * frames * CODE_BITS]
    values = bits.reshape(frames, layers, CODE_BITS).astype(np.int64)
    weights = 1 << np.arange(CODE_BITS - 1, -1, -1, dtype=np.int64)
    return np.ascontiguousarray((values @ weights).T)
