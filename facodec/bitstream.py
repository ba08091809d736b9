"""Frames as bits: 10 bits a code, frame by frame, and the ``.fac`` file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgpack
import numpy as np
from numpy.typing import NDArray

from facodec.config import (
    CODE_BITS,
    CODE_LAYERS,
    CODEBOOK_SIZE,
    HOP,
    LARGEST_TIMBRE,
    MIN_LAYERS,
    TIMBRE_DIM,
)
from facodec.files import FileError, read_bytes, shown, write_bytes
from facodec.identity import ModelIdentity, belonging

Codes = NDArray[np.int64]
FIRST_MAGIC, MAGIC = b"FACODEC\x01", b"FACODEC\x02"
CHECKSUM = 8
"""Bytes of BLAKE2b over all before them, at the end of a file."""
MOST_FRAMES = 24 * 3600 * 80
"""A day."""
LARGEST_HEADER, LONGEST_NAME = 1 << 16, 256
FEW = 48
"""Codes of one or of eight frames."""
BLOCK = 8_000
"""Frames packed at a time in a file; four frames are whole bytes for any number of layers."""


def packed_size(layers: int, frames: int) -> int:
    """Bytes that ``frames`` frames of ``layers`` codes take: 10 bits a code, whole bytes."""
    return (layers * frames * CODE_BITS + 7) // 8


def check_codes(codes: NDArray[np.integer]) -> Codes:
    """codes (K, n), K = 3..6, values 0..1023, as int64; anything else is a ValueError."""
    array = np.asarray(codes)
    if array.ndim != 2 or not MIN_LAYERS <= array.shape[0] <= CODE_LAYERS:
        raise ValueError(f"codes of shape {array.shape}: wanted (K, frames) with K = 3..6 layers")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"codes of type {array.dtype}: wanted integers")
    if array.size and (array.min() < 0 or array.max() >= CODEBOOK_SIZE):
        raise ValueError(f"codes from {array.min()} to {array.max()}: wanted 0..1023")
    return array.astype(np.int64, copy=False)


LARGEST_FILE = 4 * LARGEST_HEADER + packed_size(CODE_LAYERS, MOST_FRAMES)


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


def unpack(data: bytes, layers: int, frames: int) -> Codes:
    """Inverse of :func:`pack`: codes (layers, frames)."""
    wanted = packed_size(layers, frames)
    if len(data) != wanted:
        raise ValueError(
            f"{len(data)} bytes of codes: {frames} frames of {layers} layers take {wanted}"
        )
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))[: layers * frames * CODE_BITS]
    values = bits.reshape(frames, layers, CODE_BITS).astype(np.int64)
    weights = 1 << np.arange(CODE_BITS - 1, -1, -1, dtype=np.int64)
    return np.ascontiguousarray((values @ weights).T)


@dataclass(frozen=True)
class FacFile:
    """A recording as codes: codes (K, n), timbre (256,), the model that both belong to and how
    many samples of the last frame are speech (``samples`` <= 200 n in all)."""

    codes: Codes
    timbre: NDArray[np.float32]
    model: ModelIdentity
    samples: int

    def write(self, path: Path) -> int:
        """Writes magic, length of the header, msgpack header, packed codes and checksum; returns
        the bytes that take. Raises FileError."""
        data = self._bytes()
        write_bytes(path, data)
        return len(data)

    def _bytes(self) -> bytes:
        layers, frames = self.codes.shape
        header = msgpack.packb(
            {
                "model": self.model.name,
                **({"identity": str(self.model)} if self.model.weights else {}),
                "layers": layers,
                "frames": frames,
                "samples": self.samples,
                "timbre": np.asarray(self.timbre, dtype="<f4").tobytes(),
            }
        )
        parts = [pack(self.codes[:, at : at + BLOCK]) for at in range(0, frames, BLOCK)]
        content = b"".join([MAGIC, struct.pack("<I", len(header)), header, *parts])
        return content + _checksum(content)

    @classmethod
    def read(cls, path: Path) -> FacFile:
        """Read a ``.fac`` file of this or the first version, which has no checksum; those without
        an ``identity`` say the model's name alone. One that is missing, damaged or cut short is a
        FileError that says so."""
        data = read_bytes(path, LARGEST_FILE)
        if not data.startswith((MAGIC, FIRST_MAGIC)):
            raise FileError(f"{shown(path)} is not a .fac file: it does not start with {MAGIC!r}")
        if data.startswith(MAGIC):
            content, found = data[:-CHECKSUM], data[-CHECKSUM:]
            if len(data) < len(MAGIC) + CHECKSUM or _checksum(content) != found:
                raise FileError(
                    f"{shown(path)} is damaged or cut short: its checksum does not fit its content"
                )
            data = content
        try:
            return cls._parse(data)
        except (ValueError, KeyError, TypeError, struct.error, msgpack.UnpackException) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise FileError(f"{shown(path)} is damaged or cut short: {reason}") from error

    @classmethod
    def _parse(cls, data: bytes) -> FacFile:
        start = len(MAGIC) + 4
        (size,) = struct.unpack("<I", data[len(MAGIC) : start])
        if size > LARGEST_HEADER:
            raise ValueError(f"expected a header of at most {LARGEST_HEADER} bytes, got {size}")
        header = msgpack.unpackb(data[start : start + size])
        if not isinstance(header, dict):
            raise ValueError(f"expected a header of names and values, got {type(header).__name__}")
        layers = _whole(header["layers"], MIN_LAYERS, CODE_LAYERS, "layers")
        frames = _whole(header["frames"], 1, MOST_FRAMES, "frames")
        samples = _whole(header["samples"], 1, frames * HOP, "samples")
        model, timbre = _model(header), header["timbre"]
        if not isinstance(timbre, bytes):
            raise ValueError(f"expected a timbre as bytes, got {type(timbre).__name__}")
        codes = _unpack_long(memoryview(data)[start + size :], layers, frames)
        return cls(belonging(codes, model), belonging(_timbre(timbre), model), model, samples)


def _model(header: dict[str, object]) -> ModelIdentity:
    name = header["model"]
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"expected the name of a model, got {str(name)[:80]!r}")
    if "identity" not in header:
        return ModelIdentity(name)
    model = ModelIdentity.parse(header["identity"])
    if model.name != name:
        raise ValueError(f"expected the identity of model {name[:80]!r}, got {model}")
    return model


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=CHECKSUM).digest()


def _whole(value: object, low: int, high: int, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"expected {low} to {high} {what}, got {str(value)[:80]}")
    return value


def _timbre(data: bytes) -> NDArray[np.float32]:
    if len(data) != 4 * TIMBRE_DIM:
        raise ValueError(f"expected a timbre of {TIMBRE_DIM} floats, got {len(data)} bytes")
    timbre = np.frombuffer(data, dtype="<f4").astype(np.float32)
    if not np.abs(timbre).max() <= LARGEST_TIMBRE:
        raise ValueError(f"expected a timbre of finite numbers up to {LARGEST_TIMBRE:g}")
    return timbre


def _unpack_long(data: memoryview, layers: int, frames: int) -> Codes:
    """Like :func:`unpack`, a block of whole bytes at a time: memory stays near the codes' own."""
    wanted = packed_size(layers, frames)
    if len(data) != wanted:
        raise ValueError(
            f"{len(data)} bytes of codes: {frames} frames of {layers} layers take {wanted}"
        )
    codes = np.empty((layers, frames), dtype=np.int64)
    for at in range(0, frames, BLOCK):
        count = min(BLOCK, frames - at)
        start = packed_size(layers, at)
        block = bytes(data[start : start + packed_size(layers, count)])
        codes[:, at : at + count] = unpack(block, layers, count)
    return codes
