"""Number of streams a machine can compute: measured when a server starts, and while it runs."""

from __future__ import annotations

import math
import os
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from facodec.codec import Codec
from facodec.config import CODE_LAYERS, HOP, SAMPLE_RATE, TIMBRE_DIM
from facodec.streams.batching import BUCKETS
from streaming.engine.engine import Engine
from streaming.engine.fairness import SHARE, Credit
from streaming.engine.pipeline import plan
from streaming.engine.streams import Outcome
from streaming.wire.media import Sound
from streaming.wire.protocol import Hello

HOP_SECONDS = HOP / SAMPLE_RATE
REPEATS = 6
"""Ticks timed at each batch size; the fastest counts, as others may use the machine meanwhile."""
WARMING_FRAMES = 8
WINDOW = 10.0
"""Seconds of ticks that are judged together."""
FEWEST = 200
"""Ticks that tell something."""
WARM = SHARE / 2
"""Share of the time in steps from which they tell how slow a machine is: one that has little to do
computes from cold caches, at a low clock rate."""
DOUBT = 1.15
"""Ratio up to which what is found agrees with what is offered."""
PACE = 1.1
"""Most that a window changes it by."""
BOUND = 4.0
"""Most that it is ever changed by, either way."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Cost of duplex streams (encoded and decoded) on this machine.

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

    def streams(self, threads: int, slowness: float = 1.0) -> int:
        """Most streams that so many model threads hold, at least one: who serves a model must be
        able to try it. ``slowness``: how many times as long it takes now."""
        streams = 1
        while self.hop(streams + 1) * slowness <= SHARE * HOP_SECONDS:
            streams += 1
        return streams * min(threads, os.cpu_count() or 1)

    def to_json(self) -> dict[str, Any]:
        """A JSON value: times in ms by batch size."""
        return {
            "hop_ms": {str(size): round(s * 1e3, 3) for size, s in self.seconds.items()},
            "state_bytes": self.state_bytes,
        }


class Slowness:
    """Slowdown of steps: how many times as long they take as measured at the start, from the ticks
    of a running server. Bounded, and changed slowly, by what a whole window of ticks agrees in:
    neither a busy second when it was measured nor one later decides for long.

    ``threads``: model threads. May be used from several threads.
    """

    def __init__(self, now: float, threads: int = 1) -> None:
        self.value = 1.0
        self._threads = threads
        self._lock = threading.Lock()
        self._begin(now)

    def add(self, expected: float, taken: float, now: float) -> bool:
        """A tick that was expected to take so many seconds of computing, and took so many. Returns
        whether :attr:`value` has changed."""
        with self._lock:
            self._ratios.append(taken / expected)
            self._busy += taken
            passed = now - self._since
            if passed < WINDOW:
                return False
            before, self.value = self.value, self._judged(passed)
            self._begin(now)
            return self.value != before

    def _begin(self, now: float) -> None:
        self._since, self._busy = now, 0.0
        self._ratios = array("f")

    def _judged(self, passed: float) -> float:
        """The new value, after a window of so many seconds."""
        if len(self._ratios) < FEWEST:
            return self.value
        # The lower quartile: ticks that something held up tell of that, not of the machine.
        found = float(np.quantile(np.array(self._ratios), 0.25))
        change = found / self.value
        warm = self._busy / passed / self._threads >= WARM
        if 1.0 / DOUBT < change < DOUBT or (change > 1.0 and not warm):
            return self.value
        changed = self.value * min(max(change, 1.0 / PACE), PACE)
        return min(max(changed, 1.0 / BOUND), BOUND)


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
    """Bytes of the states of one stream in both directions that is past its start-up."""
    lanes = codec.lanes
    encoder, decoder = lanes.open_encoder(), lanes.open_decoder()
    timbres = np.zeros((1, TIMBRE_DIM), np.float32)
    for _ in range(1 + codec.latency.total // (WARMING_FRAMES * HOP)):
        lanes.encode([encoder], np.zeros((1, WARMING_FRAMES * HOP), np.float32), 1)
        lanes.decode([decoder], np.zeros((1, CODE_LAYERS, WARMING_FRAMES), np.int64), timbres, 1)
    return lanes.stream_bytes(encoder, decoder)
