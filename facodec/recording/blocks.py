"""Bytes of a ``.fac`` file of version 3: a header, then blocks, each with checksums of its own."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b

import msgpack
import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import Codes, pack, packed_size, unpack
from facodec.config import (
    CODE_BITS,
    CODE_LAYERS,
    HOP,
    LARGEST_TIMBRE,
    MIN_LAYERS,
    SAMPLE_RATE,
    TIMBRE_DIM,
)
from facodec.identity import ModelIdentity

MAGIC = b"FACODEC\x03"
MARK = b"FBLK"
"""Begins every block: where a reader that lost its place looks on."""
FRAMES, VOICE, END = b"F", b"V", b"E"
BLOCK_FRAMES = 160
"""Frames that a writer puts into one block: 2 s, the most that is lost when a file is cut."""
MOST_BLOCK_FRAMES = 400
"""Frames that a reader takes in one block."""
MOST_SAMPLES = 24 * 3600 * SAMPLE_RATE
"""A day."""
LARGEST_HEADER, LONGEST_NAME = 1 << 16, 256
LARGEST_BLOCK = 4096
CHECKSUM = 8
LENGTH = struct.Struct("<I")
_FIELDS = struct.Struct("<4sIcBHHQ")
_HEAD_CHECKSUM = 4
HEAD = _FIELDS.size + _HEAD_CHECKSUM
"""Bytes of a block before what it holds."""

Timbre = NDArray[np.float32]


@dataclass(frozen=True)
class Header:
    """Header of a recording: the model that its codes and voices belong to, and when it was made,
    in seconds since 1970 (None where that is not known)."""

    model: ModelIdentity
    started: int | None = None

    def to_bytes(self) -> bytes:
        """Magic, length, msgpack map, checksum."""
        fields: dict[str, object] = {"model": self.model.name}
        if self.model.weights:
            fields["identity"] = str(self.model)
        fields |= {"rate": SAMPLE_RATE, "hop": HOP, "bits": CODE_BITS}
        if self.started is not None:
            fields["started"] = self.started
        packed: bytes = msgpack.packb(fields)
        content = MAGIC + LENGTH.pack(len(packed)) + packed
        return content + checksum(content)

    @classmethod
    def from_map(cls, packed: bytes) -> Header:
        """Inverse of :meth:`to_bytes`, for the map alone. Raises ValueError."""
        fields = read_map(packed)
        for name, wanted in {"rate": SAMPLE_RATE, "hop": HOP, "bits": CODE_BITS}.items():
            if fields.get(name) != wanted:
                raise ValueError(f"expected {name} {wanted}, got {str(fields.get(name))[:80]}")
        started = fields.get("started")
        if started is not None:
            started = whole(started, 0, 1 << 40, "seconds")
        return cls(model_in(fields), started)


@dataclass(frozen=True)
class Head:
    """The beginning of a block. ``number``: of the block, from 0; ``start``: the sample of the
    recording that it begins at; ``detail``: layers of frames, whether a voice is exact;
    ``size``: bytes of what it holds."""

    number: int
    kind: bytes
    detail: int
    frames: int
    size: int
    start: int

    @property
    def end(self) -> int:
        """The sample after the last one it holds."""
        return self.start + self.frames * HOP

    @property
    def total(self) -> int:
        """Bytes of the whole block."""
        return HEAD + self.size + CHECKSUM

    def to_bytes(self) -> bytes:
        fields = _FIELDS.pack(
            MARK, self.number, self.kind, self.detail, self.frames, self.size, self.start
        )
        return fields + checksum(fields, _HEAD_CHECKSUM)

    def block(self, content: bytes) -> bytes:
        """The whole block."""
        data = self.to_bytes() + content
        return data + checksum(data)

    @classmethod
    def parse(cls, data: bytes) -> Head:
        """Inverse of :meth:`to_bytes`. Raises ValueError where these are no such bytes, or say
        what cannot be."""
        fields = data[: _FIELDS.size]
        if len(data) != HEAD or checksum(fields, _HEAD_CHECKSUM) != data[_FIELDS.size :]:
            raise ValueError("its beginning does not fit its checksum")
        mark, *rest = _FIELDS.unpack(fields)
        if mark != MARK:
            raise ValueError(f"expected {MARK!r}, got {mark!r}")
        head = cls(*rest)
        head._check()
        return head

    def _check(self) -> None:
        if self.end > MOST_SAMPLES:
            raise ValueError(f"expected samples up to {MOST_SAMPLES}, got {self.end}")
        if self.kind == FRAMES:
            layers = whole(self.detail, MIN_LAYERS, CODE_LAYERS, "layers")
            frames = whole(self.frames, 1, MOST_BLOCK_FRAMES, "frames")
            wanted = packed_size(layers, frames)
        elif self.kind == VOICE:
            wanted = TIMBRE_DIM * (4 if whole(self.detail, 0, 1, "as exact") else 2)
        elif self.kind == END:
            wanted = 0
        elif self.kind.islower():  # of a later version, to be passed over
            wanted = whole(self.size, 0, LARGEST_BLOCK, "bytes")
        else:
            raise ValueError(f"expected a block of frames, a voice or the end, got {self.kind!r}")
        if self.size != wanted or (self.kind != FRAMES and self.frames):
            raise ValueError(f"expected a block of {wanted} bytes, got {self.size}")


@dataclass(frozen=True, eq=False)
class FramesBlock:
    """Frames of a recording: codes (K, n) from the sample ``start`` on."""

    start: int
    codes: Codes

    @property
    def end(self) -> int:
        return self.start + int(self.codes.shape[1]) * HOP


@dataclass(frozen=True, eq=False)
class VoiceBlock:
    """The voice from the sample ``start`` on: timbre (256,), given exactly or estimated."""

    start: int
    timbre: Timbre
    exact: bool


def frames_block(number: int, start: int, codes: NDArray[np.integer]) -> bytes:
    """Codes (K, n), n <= 400, as a block."""
    content = pack(codes)
    layers, frames = codes.shape
    return Head(number, FRAMES, layers, frames, len(content), start).block(content)


def voice_block(number: int, start: int, timbre: Timbre, *, exact: bool) -> bytes:
    """A timbre (256,) as a block, an estimate in float16. Raises ValueError for what is none."""
    with np.errstate(over="ignore"):
        content = np.asarray(timbre, "<f4" if exact else "<f2").tobytes()
    read_timbre(content, exact=exact)
    return Head(number, VOICE, int(exact), 0, len(content), start).block(content)


def end_block(number: int, samples: int) -> bytes:
    """The end of a recording of so many samples."""
    return Head(number, END, 0, 0, 0, samples).block(b"")


def read_content(head: Head, content: bytes) -> FramesBlock | VoiceBlock | None:
    """Reads the content of a block, None for one without. Raises ValueError."""
    if head.kind == FRAMES:
        return FramesBlock(head.start, unpack(content, head.detail, head.frames))
    if head.kind == VOICE:
        return VoiceBlock(
            head.start, read_timbre(content, exact=bool(head.detail)), bool(head.detail)
        )
    return None


def read_timbre(data: bytes, *, exact: bool = True) -> Timbre:
    """The timbre (256,) in bytes. Raises ValueError."""
    if len(data) != TIMBRE_DIM * (4 if exact else 2):
        raise ValueError(f"expected a timbre of {TIMBRE_DIM} floats, got {len(data)} bytes")
    timbre = np.frombuffer(data, "<f4" if exact else "<f2").astype(np.float32)
    if not np.abs(timbre).max() <= LARGEST_TIMBRE:
        raise ValueError(f"expected a timbre of finite numbers up to {LARGEST_TIMBRE:g}")
    return timbre


def checksum(content: bytes, size: int = CHECKSUM) -> bytes:
    """BLAKE2b of so many bytes."""
    return blake2b(content, digest_size=size).digest()


def read_map(packed: bytes) -> dict[str, object]:
    """A msgpack map. Raises ValueError."""
    try:
        fields = msgpack.unpackb(packed)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"its header cannot be read: {error or type(error).__name__}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"expected a header of names and values, got {type(fields).__name__}")
    return fields


def model_in(fields: dict[str, object]) -> ModelIdentity:
    """The model that a header names. Raises ValueError."""
    name = fields.get("model")
    if name is None:
        raise ValueError("no 'model'")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"expected the name of a model, got {str(name)[:80]!r}")
    if "identity" not in fields:
        return ModelIdentity(name)
    model = ModelIdentity.parse(fields["identity"])
    if model.name != name:
        raise ValueError(f"expected the identity of model {name[:80]!r}, got {model}")
    return model


def whole(value: object, low: int, high: int, what: str) -> int:
    """A whole number in a range. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"expected {low} to {high} {what}, got {str(value)[:80]}")
    return value
