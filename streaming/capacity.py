"""How many streams this machine can compute: measured when a server starts."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from facodec.codec import Codec
from facodec.config import CODE_LAYERS, HOP, SAMPLE_RATE, TIMBRE_DIM
from streaming.batching import BUCKETS
from streaming.engine import Engine, Outcome
from streaming.fairness import Credit
from streaming.media import Sound
from streaming.pipeline import plan
from streaming.protocol import Hello

HOP_SECONDS = HOP / SAMPLE_RATE
SHARE = 0.4
"""Of each hop that a tick of all streams may take. About as long again goes to sockets and packets,
which share the interpreter with the model threads, and what came during a tick waits for it:
beyond this, one answer in a hundred took longer than a hop."""
REPEATS = 6
"""Ticks timed at each batch size; the fastest counts, as others may use the machine meanwhile."""
WARMING_FRAMES = 8


@dataclass(frozen=True)
class Measured:
    """What duplex streams (encoded and decoded) take of this machine.

    ``seconds``: for one hop of so many in one tick; ``state_bytes``: what one of them keeps.
    """

    seconds: Mapping[int, float]
    state_bytes: int

    def hop(self, streams: int) -> float:
        """Seconds that one hop of so many streams takes: no more than that of a larger batch, where
        something else held up the smaller one as it was timed."""
        largest = max(self.seconds)
        full, rest = divmod(streams, largest)
        last = min(seconds for size, seconds in self.seconds.items() if size >= rest)
        return full * self.seconds[largest] + (last if rest else 0.0)

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
    """Times ticks at every batch size up to the first that takes longer than a hop, which also
    makes the clients' first steps no slower than the rest. Computes in this thread; a codec that
    was measured before is not measured again."""
    if codec not in _measured:
        _measured[codec] = _measure(codec)
    return _measured[codec]


_measured: WeakKeyDictionary[Codec, Measured] = WeakKeyDictionary()


def _measure(codec: Codec) -> Measured:
    seconds: dict[int, float] = {}
    for size in BUCKETS:
        tick = _Tick(codec, size)
        seconds[size] = min(_timed(tick) for _ in range(REPEATS))
        if seconds[size] > HOP_SECONDS:
            break
    return Measured(seconds, _state_bytes(codec))


def _timed(tick: Callable[[], None]) -> float:
    started = time.perf_counter()
    tick()
    return time.perf_counter() - started


class _Tick:
    """A hop of ``size`` streams that are past their start-up, as a model thread computes it."""

    def __init__(self, codec: Codec, size: int) -> None:
        self._engine = Engine(credit=partial(Credit, most=math.inf, beginning=math.inf))
        make = plan(Hello("loopback", model=codec.name), codec, voice=None, enroll=0.0)
        self._streams = [self._engine.open(make, _drop) for _ in range(size)]
        random = np.random.default_rng(0)
        self._sound = 0.1 * random.standard_normal((size, WARMING_FRAMES * HOP), np.float32)
        for _ in range(1 + codec.latency.total // (WARMING_FRAMES * HOP)):
            self._compute(WARMING_FRAMES)
        self()

    def __call__(self) -> None:
        self._compute(1)

    def _compute(self, frames: int) -> None:
        for stream, sound in zip(self._streams, self._sound, strict=True):
            stream.submit(Sound(sound[: frames * HOP]))
        while self._engine.tick():
            pass


def _drop(outcome: Outcome) -> None:
    if outcome.error is not None:
        raise outcome.error


def _state_bytes(codec: Codec) -> int:
    """Of one stream in both directions that is past its start-up."""
    lanes = codec.lanes
    encoder, decoder = lanes.open_encoder(), lanes.open_decoder()
    timbres = np.zeros((1, TIMBRE_DIM), np.float32)
    for _ in range(1 + codec.latency.total // (WARMING_FRAMES * HOP)):
        lanes.encode([encoder], np.zeros((1, WARMING_FRAMES * HOP), np.float32), 1)
        lanes.decode([decoder], np.zeros((1, CODE_LAYERS, WARMING_FRAMES), np.int64), timbres, 1)
    return lanes.stream_bytes(encoder, decoder)
