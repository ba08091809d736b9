"""The two directions of one stream as work for batches (see
:mod:`facodec.streams.batching`): the one definition of a stream of any chunk length, which servers
share between streams and :mod:`facodec.codec` runs alone.

Codes are those of a checked message or of an encoder; samples are looked at in batches. ``alone``:
nobody shares the steps of this stream, so that all whole frames of a push are one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from facodec.bundled.loudness import Loudness
from facodec.config import ABSENT, CODE_LAYERS, HOP, TIMBRE_DIM
from facodec.streams.batching import Aside, Decode, Encode, Look, Work
from facodec.streams.lanes import Lanes

NO_CODES = np.zeros((CODE_LAYERS, 0), np.int64)
SILENCE = np.zeros(0, np.float32)
NEUTRAL = np.zeros(TIMBRE_DIM, np.float32)
"""The voice a decoder starts with when none is known yet."""


class EncoderLine:
    """Samples of any number in, codes (6, m) out."""

    def __init__(self, lanes: Lanes, alone: bool = False) -> None:
        self._lanes, self._alone = lanes, alone
        self._lane = lanes.open_encoder()
        self._waiting = np.zeros(0, np.float32)

    @property
    def wanted(self) -> int:
        """Samples, 1..200, until the next frame is complete."""
        return HOP - len(self._waiting)

    def push(self, samples: np.ndarray) -> Work[np.ndarray]:
        """samples (n,), n >= 0 -> codes (6, m) of the frames that became complete."""
        heard = np.concatenate((self._waiting, samples)) if len(self._waiting) else samples
        parts: list[np.ndarray] = []
        start = 0
        for frames in _steps(len(heard) // HOP, self._lanes.hops, self._alone):
            audio = heard[start : start + frames * HOP]
            parts.append((yield Encode(self._lanes, self._lane, audio)))
            start += frames * HOP
        self._waiting = heard[start:].copy()
        return _joined(parts, NO_CODES)

    def flush(self) -> Work[np.ndarray]:
        """The frames (6, m) still owed, the last filled up with silence."""
        rest = np.zeros(-len(self._waiting) % HOP, np.float32)
        last = yield from self.push(rest)
        flush = partial(self._lanes.flush_encoder, self._lane)
        owed = yield from _flushed(self._lanes.latency.encoder, flush)
        return np.concatenate((last, owed), axis=1)

    def timbre(self) -> Work[np.ndarray | None]:
        """The running estimate (256,) of the talker's timbre."""
        timbre: np.ndarray | None = yield Look(self._lanes, self._lane)
        return timbre

    def snapshot(self) -> Any:
        """A value that :meth:`restore` continues from, bit for bit."""
        return self._waiting.copy(), self._lanes.read_encoder(self._lane)

    def restore(self, snapshot: Any) -> None:
        """Continues from the snapshot of any encoder of these lanes."""
        waiting, state = snapshot
        self._waiting = waiting.copy()
        self._lanes.write_encoder(self._lane, state)


class DecoderLine:
    """Codes (K, n) in, samples out. ``seed`` fixes the noise."""

    def __init__(self, lanes: Lanes, seed: int, alone: bool = False) -> None:
        self._lanes, self._alone = lanes, alone
        self._lane = lanes.open_decoder(seed)
        self._loudness = Loudness()

    def push(self, codes: np.ndarray, timbre: np.ndarray) -> Work[np.ndarray]:
        """codes (K, n), K = 3..6, n >= 0, timbre (256,) -> the samples that became complete."""
        whole = filled(codes)
        parts: list[np.ndarray] = []
        start = 0
        for frames in _steps(whole.shape[1], self._lanes.hops, self._alone):
            part = whole[:, start : start + frames]
            audio = yield Decode(self._lanes, self._lane, part, timbre)
            if self._lanes.says_level:
                audio, self._loudness = self._loudness.step(part, audio)
            parts.append(audio)
            start += frames
        return _joined(parts, SILENCE)

    def skip(self, codes: np.ndarray) -> None:
        """Goes past the first codes (K, n) of a stream, unheard and in no time. The sound of what
        follows is as it would have been from where :meth:`facodec.codec.Codec.forgets` holds for
        the codes pushed since; until there it is not to be used."""
        if codes.shape[1]:
            self._lanes.skip(self._lane, filled(codes))

    def flush(self, timbre: np.ndarray) -> Work[np.ndarray]:
        """The samples still owed."""
        flush = partial(self._lanes.flush_decoder, self._lane, timbre)
        last = yield from _flushed(self._lanes.latency.decoder, flush)
        return self._loudness.last(last)

    def snapshot(self) -> Any:
        """A value that :meth:`restore` continues from, bit for bit."""
        return self._lanes.read_decoder(self._lane), self._loudness

    def restore(self, snapshot: Any) -> None:
        """Continues from the snapshot of any decoder of these lanes."""
        state, self._loudness = snapshot
        self._lanes.write_decoder(self._lane, state)


def _flushed(owed: int, flush: Callable[[], np.ndarray]) -> Work[np.ndarray]:
    """Runs a flush that computes so many samples at once: no step for others to wait for where that
    is more than a frame."""
    if owed <= HOP:
        return flush()
    flushed: np.ndarray = yield Aside(flush)
    return flushed


def _steps(frames: int, sizes: Sequence[int], alone: bool) -> list[int]:
    """Cuts so many frames into steps of these sizes where others may share them."""
    if alone:
        return [frames] if frames else []
    steps: list[int] = []
    for size in sizes:
        count, frames = divmod(frames, size)
        steps += [size] * count
    return steps


def _joined(parts: list[np.ndarray], nothing: np.ndarray) -> np.ndarray:
    """The parts one after the other; mostly there is just one."""
    return parts[0] if len(parts) == 1 else np.concatenate((nothing, *parts), axis=-1)


def filled(codes: np.ndarray) -> np.ndarray:
    """codes (K, n) -> (6, n), layers left out marked absent."""
    if len(codes) == CODE_LAYERS:
        return codes
    whole = np.full((CODE_LAYERS, codes.shape[1]), ABSENT, np.int64)
    whole[: len(codes)] = codes
    return whole
