"""The two directions of one stream, and conversion, as work for batches (see
:mod:`streaming.batching`); the same results as the streams of :mod:`facodec.codec`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facodec.bitstream import check_codes
from facodec.codec import Codec, as_samples
from facodec.config import ABSENT, CODE_LAYERS, HOP, MIN_LAYERS
from streaming.batching import Convert, Decode, Encode, Look, Work


class LiveEncoder:
    """Samples of any number in, codes (6, m) out."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._lane = codec.lanes.open_encoder()
        self._waiting = np.zeros(0, np.float32)

    @property
    def wanted(self) -> int:
        """Samples, 1..200, until the next frame is complete."""
        return HOP - len(self._waiting)

    def push(self, samples: np.ndarray) -> Work[np.ndarray]:
        """samples (n,), n >= 0 -> codes (6, m) of the frames that became complete."""
        heard = np.concatenate((self._waiting, as_samples(samples)))
        parts = [np.zeros((CODE_LAYERS, 0), np.int64)]
        start = 0
        for frames in _steps(len(heard) // HOP, self._codec.lanes.hops):
            audio = heard[start : start + frames * HOP]
            parts.append((yield Encode(self._codec, self._lane, audio)))
            start += frames * HOP
        self._waiting = heard[start:].copy()
        return np.concatenate(parts, axis=1)

    def flush(self) -> Work[np.ndarray]:
        """The frames (6, m) still owed, the last filled up with silence."""
        rest = np.zeros(-len(self._waiting) % HOP, np.float32)
        last = yield from self.push(rest)
        owed = self._codec.lanes.flush_encoder(self._lane)
        return np.concatenate((last, owed), axis=1)

    def timbre(self) -> Work[np.ndarray | None]:
        """The running estimate (256,) of the talker's timbre."""
        timbre: np.ndarray | None = yield Look(self._codec, self._lane)
        return timbre


class LiveDecoder:
    """Codes (K, n) in, samples out. ``seed`` fixes the noise."""

    def __init__(self, codec: Codec, seed: int) -> None:
        self._codec = codec
        self._lane = codec.lanes.open_decoder(seed)

    def push(self, codes: np.ndarray, timbre: np.ndarray) -> Work[np.ndarray]:
        """codes (K, n), K = 3..6, n >= 0, timbre (256,) -> the samples that became complete."""
        filled = _fill(codes)
        parts = [np.zeros(0, np.float32)]
        start = 0
        for frames in _steps(filled.shape[1], self._codec.lanes.hops):
            part = filled[:, start : start + frames]
            parts.append((yield Decode(self._codec, self._lane, part, timbre)))
            start += frames
        return np.concatenate(parts)

    def flush(self, timbre: np.ndarray) -> Work[np.ndarray]:
        """The samples still owed."""
        yield from ()
        return self._codec.lanes.flush_decoder(self._lane, timbre)


def convert(
    codec: Codec, codes: np.ndarray, source: np.ndarray | None, target: np.ndarray
) -> Work[np.ndarray]:
    """What conversion makes of codes (K, n): codes (3, n)."""
    converted: np.ndarray = yield Convert(codec, _fill(codes), source, target)
    return converted[:MIN_LAYERS]


def _steps(frames: int, sizes: Sequence[int]) -> list[int]:
    """So many frames, cut into steps."""
    steps: list[int] = []
    for size in sizes:
        count, frames = divmod(frames, size)
        steps += [size] * count
    return steps


def _fill(codes: np.ndarray) -> np.ndarray:
    """Checked codes (K, n) -> (6, n), layers left out marked absent."""
    checked = check_codes(codes)
    filled = np.full((CODE_LAYERS, checked.shape[1]), ABSENT, np.int64)
    filled[: len(checked)] = checked
    return filled
