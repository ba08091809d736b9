"""How many streams this machine can compute: measured when a server starts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from facodec.codec import Codec
from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, HOP, SAMPLE_RATE, TIMBRE_DIM
from streaming.batching import BUCKETS, bucket

HOP_SECONDS = HOP / SAMPLE_RATE
SHARE = 0.4
"""Of each hop that the steps of all streams may take. About as long again goes to sockets, queues
and packets, which share the interpreter with the steps, and what came during a tick waits for it:
beyond this, one answer in a hundred took longer than a hop."""
REPEATS = 6
"""Steps timed at each batch size; the fastest counts, as others may use the machine meanwhile."""
WARMING_FRAMES = 8


@dataclass(frozen=True)
class Measured:
    """What duplex streams (encoded and decoded) take of this machine.

    ``seconds``: for one hop of so many in one step; ``state_bytes``: what one of them keeps.
    """

    seconds: Mapping[int, float]
    state_bytes: int

    def hop(self, streams: int) -> float:
        """Seconds that one hop of so many streams takes."""
        largest = max(self.seconds)
        full, rest = divmod(streams, largest)
        return full * self.seconds[largest] + (self.seconds[bucket(rest)] if rest else 0.0)

    def streams(self, threads: int) -> int:
        """Most streams that so many model threads hold, at least one: who serves a model must be
        able to try it."""
        streams = 1
        while self.hop(streams + 1) <= SHARE * HOP_SECONDS:
            streams += 1
        return streams * min(threads, os.cpu_count() or 1)

    def to_json(self) -> dict[str, Any]:
        """A JSON value: times in ms by batch size."""
        return {
            "hop_ms": {str(size): round(s * 1e3, 3) for size, s in self.seconds.items()},
            "state_bytes": self.state_bytes,
        }


def measure(codec: Codec) -> Measured:
    """Times steps at every batch size up to the first that takes longer than a hop, which also
    makes the clients' first steps no slower than the rest. Computes in this thread; a codec that
    was measured before is not measured again."""
    if codec not in _measured:
        _measured[codec] = _measure(codec)
    return _measured[codec]


_measured: WeakKeyDictionary[Codec, Measured] = WeakKeyDictionary()


def _measure(codec: Codec) -> Measured:
    seconds: dict[int, float] = {}
    size_of_state = 0
    for size in BUCKETS:
        step = _DuplexStep(codec, size)
        seconds[size] = min(_timed(step) for _ in range(REPEATS))
        size_of_state = step.state_bytes
        if seconds[size] > HOP_SECONDS:
            break
    return Measured(seconds, size_of_state)


def _timed(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


class _DuplexStep:
    """One hop of ``size`` streams that are past their start-up."""

    def __init__(self, codec: Codec, size: int) -> None:
        self._lanes, self._size = codec.lanes, size
        self._encoders = [self._lanes.open_encoder() for _ in range(size)]
        self._decoders = [self._lanes.open_decoder() for _ in range(size)]
        self._timbres = np.zeros((size, TIMBRE_DIM), np.float32)
        self._random = np.random.default_rng(0)
        for _ in range(1 + codec.latency.total // (WARMING_FRAMES * HOP)):
            self._step(*self._draw(WARMING_FRAMES))
        self._hop = self._draw(1)
        self()

    def __call__(self) -> None:
        self._step(*self._hop)

    @property
    def state_bytes(self) -> int:
        """Of one stream."""
        return self._lanes.stream_bytes(self._encoders[0], self._decoders[0])

    def _draw(self, frames: int) -> tuple[np.ndarray, np.ndarray]:
        sound = 0.1 * self._random.standard_normal((self._size, frames * HOP), np.float32)
        codes = self._random.integers(0, CODEBOOK_SIZE, (self._size, CODE_LAYERS, frames))
        return sound, codes

    def _step(self, sound: np.ndarray, codes: np.ndarray) -> None:
        self._lanes.encode(self._encoders, sound, self._size)
        self._lanes.decode(self._decoders, codes, self._timbres, self._size)
