"""Frames as bits: 10 bits a code, frame by frame, and the ``.fac`` file."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import msgpack
import numpy as np
from numpy.typing import NDArray

from facodec.config import CODE_BITS, CODE_LAYERS, CODEBOOK_SIZE, MIN_LAYERS, TIMBRE_DIM

Codes = NDArray[np.int64]
MAGIC = b"FACODEC\x01"


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


def pack(codes: NDArray[np.integer]) -> bytes:
    """codes (K, n) -> 10 K n bits, most significant first, padded with zeros to a byte."""
    frames_first = check_codes(codes).T.reshape(-1, 1).astype(np.uint16)
    places = np.arange(CODE_BITS - 1, -1, -1, dtype=np.uint16)
    bits = (frames_first >> places) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


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
    """A recording as codes: codes (K, n), timbre (256,), the model's name and how many samples
    of the last frame are speech (``samples`` <= 200 n in all)."""

    codes: Codes
    timbre: NDArray[np.float32]
    model: str
    samples: int

    def write(self, path: Path) -> None:
        """Magic, length of the header, msgpack header, packed codes."""
        layers, frames = self.codes.shape
        header = msgpack.packb(
            {
                "model": self.model,
                "layers": layers,
                "frames": frames,
                "samples": self.samples,
                "timbre": np.asarray(self.timbre, dtype="<f4").tobytes(),
            }
        )
        path.write_bytes(MAGIC + struct.pack("<I", len(header)) + header + pack(self.codes))

    @classmethod
    def read(cls, path: Path) -> FacFile:
        """Read a ``.fac`` file; one that is not or is cut short is a ValueError."""
        data = path.read_bytes()
        if not data.startswith(MAGIC):
            raise ValueError(f"{path} is not a .fac file: it does not start with {MAGIC!r}")
        stream = io.BytesIO(data[len(MAGIC) :])
        try:
            (size,) = struct.unpack("<I", stream.read(4))
            header = msgpack.unpackb(stream.read(size))
            codes = unpack(stream.read(), int(header["layers"]), int(header["frames"]))
            timbre = np.frombuffer(header["timbre"], dtype="<f4").astype(np.float32)
            if timbre.shape != (TIMBRE_DIM,):
                raise ValueError(f"timbre of {timbre.size} floats: wanted {TIMBRE_DIM}")
            return cls(codes, timbre, str(header["model"]), int(header["samples"]))
        except (struct.error, KeyError, TypeError, ValueError, msgpack.UnpackException) as e:
            raise ValueError(f"{path} is damaged or cut short: {e}") from e
