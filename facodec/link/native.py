"""The entropy coder's predictor in C (``predictor/predictor.c``), where it can be compiled."""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import Codes
from facodec.config import CODE_LAYERS, CODEBOOK_SIZE
from facodec.link import arithmetic
from facodec.native import compiled

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent / "predictor"
MOST_HIDDEN = 256
"""Hidden numbers of a layer that the C code has room for."""
LAGS = 2
"""Frames before the coded one that a prediction looks at, none of them outside the packet."""
SHARES = 1024
"""Entries of the table that turns the distance from the likeliest code into a share."""
Shares = list[tuple[int, int, int]]


class _Layout(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in (
            "embeddings", "past", "present", "thresholds", "words", "biases", "shares",
        )),
        ("depth", ctypes.c_int64), ("hidden", ctypes.c_int64),
    )  # fmt: skip


class NativePredictor:
    """Computes the shares of the Python code, to the last bit, in a third of the time.

    Arrays float32: ``embeddings`` (6, 1025, d), ``past`` (12 d, 6 h), ``present`` (6, 6, d, h),
    ``thresholds`` (6, h), ``words`` (6, h, 1024), ``biases`` (6, 1024); ``shares`` int32 (1024,).
    """

    def __init__(self, library: ctypes.CDLL, **arrays: NDArray[np.generic]) -> None:
        self._library = library
        self._arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        depth, hidden = self._arrays["present"].shape[-2:]
        places = {name: array.ctypes.data for name, array in self._arrays.items()}
        self._layout = _Layout(**places, depth=depth, hidden=hidden)
        self._at = ctypes.addressof(self._layout)
        self._hidden = hidden
        for name, count in _ARGUMENTS.items():
            call = getattr(library, name)
            call.argtypes = [ctypes.c_void_p if kind == "p" else ctypes.c_int64 for kind in count]
            call.restype = ctypes.c_int64 if name in _ANSWERING else None

    def shares(self, codes: Codes) -> Shares:
        """(start, width, total) of each code (K, n), frame by frame."""
        layers, frames = codes.shape
        given = np.ascontiguousarray(codes, np.int64)
        found = np.empty((frames * layers, 3), np.int64)
        self._library.predictor_shares(
            self._at, given.ctypes.data, layers, frames, found.ctypes.data
        )
        return [(start, width, total) for start, width, total in found.tolist()]

    def read(self, message: arithmetic.Decoder, layers: int, frames: int) -> Codes:
        """Codes (K, n) of a message."""
        library, at = self._library, self._at
        past = np.full((LAGS, CODE_LAYERS), CODEBOOK_SIZE, np.int64)
        sums = np.empty(CODE_LAYERS * self._hidden, np.float32)
        ends = np.empty(CODEBOOK_SIZE, np.int32)
        past_at, sums_at, ends_at = (array.ctypes.data for array in (past, sums, ends))
        out = np.empty((layers, frames), np.int64)
        for t in range(frames):
            library.predictor_begin(at, past_at, sums_at)
            past[1] = past[0]
            for k in range(layers):
                total = library.predictor_ends(at, k, sums_at, ends_at)
                code = library.predictor_find(ends_at, message.place(total))
                start = int(ends[code - 1]) if code else 0
                message.take(start, int(ends[code]) - start, total)
                library.predictor_know(at, k, code, sums_at)
                out[k, t] = past[0, k] = code
        return out


_ARGUMENTS = {
    "predictor_begin": "ppp",
    "predictor_know": "piip",
    "predictor_ends": "pipp",
    "predictor_find": "pi",
    "predictor_shares": "ppiip",
}
"""Arguments of the C functions: addresses and whole numbers."""
_ANSWERING = ("predictor_ends", "predictor_find")


def native_predictor(**arrays: NDArray[np.generic]) -> NativePredictor | None:
    """The predictor with these arrays, None where it cannot be had."""
    library = compiled.library(SOURCES)
    if library is None or not _fits(library) or arrays["present"].shape[-1] > MOST_HIDDEN:
        return None
    return NativePredictor(library, **arrays)


def _fits(library: ctypes.CDLL) -> bool:
    """Whether a library computes with the sizes of Python; a warning says where it does not."""
    expected = (ctypes.sizeof(_Layout), MOST_HIDDEN, SHARES, LAGS)
    found = (ctypes.c_int64 * len(expected))()
    library.predictor_sizes.restype = None
    library.predictor_sizes(found)
    if tuple(found) == expected:
        return True
    log.warning(
        "the entropy coder goes without compiled code: expected sizes %s, got %s",
        expected, tuple(found),
    )  # fmt: skip
    return False
