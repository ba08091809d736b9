"""Noise taken out of sound on its way in, by RNNoise (Valin, 2018; the extra ``denoise``)."""

from __future__ import annotations

import ctypes
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clients.audio.microphone import Block
from clients.audio.resample import HALF_WIDTH, LiveResampler
from facodec.config import HOP, SAMPLE_RATE
from facodec.extras import need

if TYPE_CHECKING:
    from clients.audio.endpoints import Source

RATE, FRAME = 48_000, 480
"""Hz and samples of a frame that RNNoise takes: 10 ms."""
FULL_SCALE = 32768.0
LIBRARIES = (".so", ".dylib", ".dll")
FLOATS = ctypes.POINTER(ctypes.c_float)
DELAY = 2 * FRAME * SAMPLE_RATE // RATE + 2 * HALF_WIDTH
"""Samples at 16 kHz by which it is behind, 22 ms: two frames of its own (overlap, look-ahead), and
resampling both ways."""


@cache
def _library() -> ctypes.CDLL:
    """RNNoise in the package ``pyrnnoise``, which is not imported: it would load FFmpeg."""
    spec = find_spec("pyrnnoise")
    found = (
        []
        if spec is None or spec.origin is None
        else [
            path for path in Path(spec.origin).parent.glob("*rnnoise.*") if path.suffix in LIBRARIES
        ]
    )
    if not found:
        raise ImportError("expected the library RNNoise in the package pyrnnoise, got none")
    library = ctypes.CDLL(str(found[0]))
    library.rnnoise_create.argtypes = [ctypes.c_void_p]
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, FLOATS, FLOATS]
    library.rnnoise_process_frame.restype = ctypes.c_float
    return library


class Denoiser:
    """A stream of mono sound at 16 kHz without its noise, sample for sample in its place.

    It comes :data:`DELAY` samples later and in frames of 10 ms. Raises MissingExtra where RNNoise
    is not installed.
    """

    def __init__(self) -> None:
        need("denoise")
        self._library = _library()
        self._state = self._library.rnnoise_create(None)
        self._up = LiveResampler(SAMPLE_RATE, RATE)
        self._down = LiveResampler(RATE, SAMPLE_RATE)
        self._waiting = np.zeros(0, np.float32)
        self._early = DELAY
        self._owed = 0

    def __del__(self) -> None:
        if state := getattr(self, "_state", None):
            self._library.rnnoise_destroy(state)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """samples (n,) -> the next ones that are done."""
        self._owed += len(samples)
        return self._done(samples)

    def flush(self) -> np.ndarray:
        """End of the input: the samples still owed."""
        return self._done(np.zeros(DELAY + FRAME, np.float32))[: self._owed]

    def _done(self, samples: np.ndarray) -> np.ndarray:
        held = np.concatenate([self._waiting, self._up.push(samples) * np.float32(FULL_SCALE)])
        whole = len(held) // FRAME * FRAME
        frames, self._waiting = held[:whole].reshape(-1, FRAME), held[whole:]
        for frame in frames:
            place = frame.ctypes.data_as(FLOATS)
            self._library.rnnoise_process_frame(self._state, place, place)
        out = self._down.push(frames.ravel() / np.float32(FULL_SCALE))
        skipped = min(self._early, len(out))
        self._early -= skipped
        out = out[skipped:]
        self._owed -= len(out)
        return out


class DenoisedSource:
    """Another source without its noise; its blocks say how much later that makes them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._denoiser = Denoiser()

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def overruns(self) -> int:
        return self._source.overruns

    @property
    def live(self) -> bool:
        return self._source.live

    async def blocks(self) -> AsyncIterator[Block]:
        """Blocks of one hop or, of a file that is read fast, of whole hops."""
        left, behind, heard = np.zeros(0, np.float32), 0, 0.0
        async for block in self._source.blocks():
            done = self._denoiser.push(block.samples)
            behind += len(block.samples) - len(done)
            heard = block.captured
            left = np.concatenate([left, done])
            whole = len(left) // HOP * HOP
            if whole:
                late = (behind + len(left) - whole) / SAMPLE_RATE
                yield replace(block, samples=left[:whole], captured=heard - late, denoise=late)
                left = left[whole:]
        yield Block(np.concatenate([left, self._denoiser.flush()]), heard)

    def stop(self) -> None:
        self._source.stop()

    def close(self) -> None:
        self._source.close()
