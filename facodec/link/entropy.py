"""Lossless entropy coding of frames: fewer bits for the same codes.

A small learned model predicts each code from the frame's earlier codes and from the two frames
before it in the same packet; an arithmetic coder (:mod:`facodec.link.arithmetic`) turns the
predictions into bytes. A packet depends on nothing but the tables, so that a lost one costs no
other.

All that the model computes are sums of products of small whole numbers, below 2^24 and thus exact
in float32 in any order: bytes are equal on every CPU. A packet that does not become smaller is
plain 10-bit packing; the receiver knows it by its length.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import Codes, check_codes, pack, packed_size, unpack
from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, MIN_LAYERS
from facodec.files import read_bytes, write_bytes
from facodec.identity import ModelIdentity
from facodec.link import arithmetic
from facodec.link.native import LAGS, SHARES, NativePredictor, native_predictor
from facodec.reasons import FileError, shown

TABLES = "entropy.safetensors"
LARGEST_FILE = 1 << 20
LARGEST_WEIGHT = 127
NONE = CODEBOOK_SIZE
"""In place of a code that is not there: before the packet, or of a layer left out."""
HIDDEN_SHIFT = 64.0
"""Sums of the first products per unit of a hidden number, which are 0..127."""
SLOPE = 16.0
"""Sums of the second products per step of the table of shares, which is 1/64 of a nat."""
LARGEST_SUM = 1 << 24

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EntropyTables:
    """Whole numbers of the predictor.

    ``embeddings`` int8 (6, 1025, d), a row for each code of each layer and one for none;
    ``past`` int8 (2 * 6 * d, 6 * h), from the codes of the last frame and of the one before it;
    ``present`` int8 (6, 6, d, h), from code j of the frame for code k > j; ``thresholds`` int32
    (6, h); ``words`` int8 (6, 1024, h) and ``biases`` int32 (6, 1024) from hidden numbers to codes;
    ``shares`` int32 (1024,), positive and not rising; ``model`` uint8 (N,): the identity, as
    text, of the model whose codes they were learned from.
    """

    embeddings: NDArray[np.int8]
    past: NDArray[np.int8]
    present: NDArray[np.int8]
    thresholds: NDArray[np.int32]
    words: NDArray[np.int8]
    biases: NDArray[np.int32]
    shares: NDArray[np.int32]
    model: NDArray[np.uint8]

    def __post_init__(self) -> None:
        depth, hidden = self.embeddings.shape[-1], self.words.shape[-1]
        wanted = {
            "embeddings": (np.int8, (CODE_LAYERS, CODEBOOK_SIZE + 1, depth)),
            "past": (np.int8, (LAGS * CODE_LAYERS * depth, CODE_LAYERS * hidden)),
            "present": (np.int8, (CODE_LAYERS, CODE_LAYERS, depth, hidden)),
            "thresholds": (np.int32, (CODE_LAYERS, hidden)),
            "words": (np.int8, (CODE_LAYERS, CODEBOOK_SIZE, hidden)),
            "biases": (np.int32, (CODE_LAYERS, CODEBOOK_SIZE)),
            "shares": (np.int32, (SHARES,)),
            "model": (np.uint8, (self.model.size,)),
        }
        for name, (kind, shape) in wanted.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ValueError(
                    f"expected {name} of {np.dtype(kind)} {shape}, got {array.dtype} {array.shape}"
                )
        self._check_sums(depth, hidden)
        if self.shares.min() < 1 or (np.diff(self.shares) > 0).any():
            raise ValueError("expected shares that are positive and do not rise")
        if int(self.shares[0]) * CODEBOOK_SIZE >= 1 << 31:
            raise ValueError(f"expected a largest share below 2^21, got {self.shares[0]}")

    def _check_sums(self, depth: int, hidden: int) -> None:
        """Sums that leave the whole numbers of float32 would differ between CPUs."""
        terms = (LAGS + 1) * CODE_LAYERS * depth
        sums = {
            "thresholds": terms * 128 * 128 + int(np.abs(self.thresholds.astype(np.int64)).max()),
            "biases": hidden * 128 * 127 + int(np.abs(self.biases.astype(np.int64)).max()),
        }
        for name, largest in sums.items():
            if largest >= LARGEST_SUM:
                raise ValueError(f"expected sums with {name} below 2^24, got up to {largest}")

    @cached_property
    def identity(self) -> str:
        """Eight hexadecimal digits that name these tables to the other end of a link."""
        parts = (np.ascontiguousarray(getattr(self, name)).tobytes() for name in self._names())
        return hashlib.sha256(b"".join(parts)).hexdigest()[:8]

    def fit(self, model: ModelIdentity) -> bool:
        """Whether they were learned from the codes of this model."""
        return self.model.tobytes() == str(model).encode()

    def save(self, folder: Path) -> int:
        """Writes the file beside a model's weights; returns its bytes. Raises FileError."""
        from safetensors.numpy import save

        data = save({name: np.ascontiguousarray(getattr(self, name)) for name in self._names()})
        write_bytes(folder / TABLES, data)
        return len(data)

    @classmethod
    def _names(cls) -> list[str]:
        return sorted(cls.__dataclass_fields__)


def load_tables(folder: Path, model: ModelIdentity | None = None) -> EntropyTables | None:
    """Tables beside a model's weights; None where there are none, or where they were learned from
    the codes of another model than ``model``. A damaged file is a FileError."""
    path = folder / TABLES
    if not path.exists():
        return None
    from safetensors.numpy import load

    data = read_bytes(path, LARGEST_FILE)
    try:
        tables = EntropyTables(**load(data))
    except Exception as error:  # the reader's own errors have no common base
        raise FileError(f"{shown(path)} holds no tables of an entropy coder: {error}") from error
    return tables if model is None or tables.fit(model) else None


class FrameCoder:
    """Packets of frames as bytes and back, with one set of tables. Holds no state between packets;
    without tables it packs plainly. ``native``: compute in C where that can be had, to the same
    bytes."""

    def __init__(self, tables: EntropyTables | None, *, native: bool = True) -> None:
        self._predictor: _Predictor | NativePredictor | None = None
        if tables is not None:
            self._predictor = (_in_c(tables) if native else None) or _Predictor(tables)
        self.is_fast = isinstance(self._predictor, NativePredictor)
        """Whether a server may code for its clients: at most 45 µs a frame, not 120."""
        self.identity = "" if tables is None else tables.identity

    def encode(self, codes: NDArray[np.integer]) -> bytes:
        """codes (K, n), K = 3..6, n >= 1 -> at most as many bytes as plain packing takes."""
        checked = check_codes(codes)
        plain = packed_size(*checked.shape)
        if self._predictor is not None:
            data = arithmetic.encode(self._predictor.shares(checked))
            if len(data) < plain:
                return data
        return pack(checked)

    def decode(self, data: bytes, layers: int, frames: int) -> Codes:
        """Inverse of :meth:`encode`: codes (layers, frames). A ValueError for more bytes than
        these frames can take, or fewer than plain packing where there are no tables."""
        if not MIN_LAYERS <= layers <= CODE_LAYERS or frames < 0:
            raise ValueError(f"expected frames of 3..6 layers, got {frames} of {layers}")
        plain = packed_size(layers, frames)
        if self._predictor is None or len(data) >= plain:
            return unpack(data, layers, frames)
        return self._predictor.read(arithmetic.Decoder(data), layers, frames)

    def cost(self, codes: NDArray[np.integer]) -> NDArray[np.float64]:
        """Information in bits (K, n) of each code of a packet, the arithmetic coder's whole bytes
        not counted. A ValueError without tables."""
        if self._predictor is None:
            raise ValueError("expected tables of an entropy coder, got none")
        checked = check_codes(codes)
        shares = np.array(list(self._predictor.shares(checked)), dtype=np.float64)
        ratios: NDArray[np.float64] = np.log2(shares[:, 2] / shares[:, 1])
        bits: NDArray[np.float64] = ratios.reshape(checked.shape[1], -1).T
        return bits


def _in_c(tables: EntropyTables) -> NativePredictor | None:
    return native_predictor(
        embeddings=tables.embeddings.astype(np.float32),
        past=tables.past.astype(np.float32),
        present=tables.present.astype(np.float32),
        thresholds=(tables.thresholds + int(HIDDEN_SHIFT) // 2).astype(np.float32),
        words=(tables.words.astype(np.float32) / np.float32(SLOPE)).transpose(0, 2, 1),
        biases=tables.biases.astype(np.float32) / np.float32(SLOPE),
        shares=tables.shares,
    )


class _Predictor:
    """Shares of the 1024 values of the next code, from tables as float32."""

    def __init__(self, tables: EntropyTables) -> None:
        self._hidden = tables.words.shape[-1]
        self._embeddings = tables.embeddings.astype(np.float32)
        self._past = tables.past.astype(np.float32)
        # Half a unit more: the hidden numbers are rounded down.
        self._thresholds = (tables.thresholds + int(HIDDEN_SHIFT) // 2).astype(np.float32)
        # Dividing by a power of two is exact.
        self._words = tables.words.astype(np.float32) / np.float32(SLOPE)
        self._biases = tables.biases.astype(np.float32) / np.float32(SLOPE)
        self._table = tables.shares
        # What code j of a frame adds for each later code, by its value: (1024, (5 - j) h).
        self._present = [
            (words[:-1] @ later[j + 1 :].astype(np.float32)).transpose(1, 0, 2).reshape(NONE, -1)
            for j, (words, later) in enumerate(zip(self._embeddings, tables.present, strict=True))
        ]

    def shares(self, codes: Codes) -> list[tuple[int, int, int]]:
        """(start, width, total) of each code (K, n), frame by frame."""
        layers, frames = codes.shape
        sums = self._from_past(_before(codes))
        for j in range(layers - 1):
            sums[:, j + 1 :] += self._present[j][codes[j]].reshape(frames, -1, self._hidden)
        found = np.empty((frames, layers, 3), np.int64)
        rows = np.arange(frames)
        for k in range(layers):
            widths = self._widths(sums[:, k], k)
            ends = widths.cumsum(axis=1, dtype=np.int32)
            width = widths[rows, codes[k]]
            found[:, k, 0] = ends[rows, codes[k]] - width
            found[:, k, 1] = width
            found[:, k, 2] = ends[:, -1]
        return [(start, width, total) for start, width, total in found.reshape(-1, 3).tolist()]

    def read(self, message: arithmetic.Decoder, layers: int, frames: int) -> Codes:
        """Codes (K, n) of a message."""
        past = np.full((LAGS, CODE_LAYERS), NONE)
        out = np.empty((layers, frames), np.int64)
        for t in range(frames):
            sums = self._from_past(past[None])[0]
            for k in range(layers):
                ends = self._widths(sums[k], k).cumsum(dtype=np.int32)
                total = int(ends[-1])
                code = int(ends.searchsorted(message.place(total), side="right"))
                start = int(ends[code - 1]) if code else 0
                message.take(start, int(ends[code]) - start, total)
                if k + 1 < layers:
                    sums[k + 1 :] += self._present[k][code].reshape(-1, self._hidden)
                out[k, t] = code
            past[1:] = past[:-1]
            past[0, :layers] = out[:, t]
        return out

    def _from_past(self, past: NDArray[np.int64]) -> Floats:
        """Codes of the frames before (n, 2, 6) -> sums (n, 6, h)."""
        known = self._embeddings[np.arange(CODE_LAYERS), past].reshape(len(past), -1)
        sums: Floats = (known @ self._past).reshape(len(past), CODE_LAYERS, self._hidden)
        return sums + self._thresholds

    def _widths(self, sums: Floats, layer: int) -> NDArray[np.int32]:
        """Sums (..., h) -> widths of the shares (..., 1024)."""
        hidden = np.floor(sums * np.float32(1.0 / HIDDEN_SHIFT)).clip(0.0, LARGEST_WEIGHT)
        likely = hidden @ self._words[layer].T
        likely += self._biases[layer]
        far = likely.max(axis=-1, keepdims=True) - likely
        widths: NDArray[np.int32] = self._table.take(far.astype(np.int32), mode="clip")
        return widths


def _before(codes: Codes) -> NDArray[np.int64]:
    """The frames before each of a packet's codes (K, n): (n, 2, 6), newest first."""
    layers, frames = codes.shape
    past = np.full((frames, LAGS, CODE_LAYERS), NONE)
    for lag in range(1, LAGS + 1):
        past[lag:, lag - 1, :layers] = codes[:, : max(frames - lag, 0)].T
    return past
