"""Conditions of a path in time: rate, delay, jitter, loss; and when a packet comes out of it.

No clock and no socket: times are passed in. Stages count from the moment the talk begins; before
that, what holds at its beginning holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FAR = math.inf
CLEAN_DELAY = 0.02
"""Seconds one way of a path that nothing is wrong with."""
QUEUE = 0.4
"""Seconds that a packet waits at most for its turn; one that would wait for longer is lost."""


@dataclass(frozen=True)
class Stage:
    """Conditions from ``since`` on. ``rate``: bit/s, IP headers included; ``delay``: s one way;
    ``jitter``: s that it is shorter or longer, evenly spread, packets staying in order; ``loss``:
    share of packets, lost ``burst`` in a row on average (Gilbert's channel of two states; None:
    each for itself)."""

    since: float = 0.0
    rate: float = FAR
    delay: float = CLEAN_DELAY
    jitter: float = 0.0
    loss: float = 0.0
    burst: float | None = None


@dataclass(frozen=True)
class Path:
    """A path in both directions, each with these stages. ``outages``: (begin, end) in s, for who
    looks at what comes after them."""

    name: str
    summary: str
    stages: tuple[Stage, ...] = (Stage(),)
    queue: float = QUEUE
    outages: tuple[tuple[float, float], ...] = ()


class Way:
    """One direction of a path. ``began``: when the talk begins, s."""

    def __init__(self, path: Path, seed: int, began: float = FAR) -> None:
        self.began = began
        self._stages = path.stages
        self._queue = path.queue
        self._random = np.random.default_rng(seed)
        self._free_at = -FAR
        self._last = -FAR
        self._loses = False

    def arrival(self, now: float, size: int) -> float | None:
        """Time at which a packet of ``size`` bytes that is sent ``now`` comes out; None where it is
        lost."""
        stage = self._stages[self._index(now)]
        self._loses = self._random.random() < self._chance(stage)
        if self._loses:
            return None
        begin = max(now, self._free_at)
        if begin - now > self._queue:
            return None
        self._free_at = self._sent(begin, 8.0 * size)
        stage = self._stages[self._index(self._free_at)]
        delay = stage.delay + self._random.uniform(-stage.jitter, stage.jitter)
        self._last = max(self._last, self._free_at + delay)
        return self._last

    def _chance(self, stage: Stage) -> float:
        """Probability that the next packet is lost."""
        if stage.burst is None or not stage.loss:
            return stage.loss
        if self._loses:
            return 1.0 - 1.0 / stage.burst
        return stage.loss / ((1.0 - stage.loss) * stage.burst)

    def _index(self, now: float) -> int:
        return max(0, sum(self._begin(stage) <= now for stage in self._stages) - 1)

    def _begin(self, stage: Stage) -> float:
        return self.began + stage.since

    def _sent(self, at: float, bits: float) -> float:
        """Time at which bits have left whose first leaves ``at``."""
        index = self._index(at)
        while True:
            rate = self._stages[index].rate
            following = self._stages[index + 1 : index + 2]
            end = self._begin(following[0]) if following else FAR
            if at + bits / rate <= end:
                return at + bits / rate
            bits -= (end - at) * rate
            at, index = end, index + 1


# ------------------------------------------------------------------------------------ the paths

OUTAGE_FIRST, OUTAGE_EVERY = 8.0, 15.0
EDGE_SEED, EDGE_STEP = 7, 0.5
EDGE_RATE, EDGE_LOWEST, EDGE_HIGHEST = 64e3, 12e3, 256e3
EDGE_DELAY, EDGE_SHORTEST, EDGE_LONGEST = 0.07, 0.04, 0.16
EDGE_FADE_EVERY, EDGE_FADE, EDGE_FADE_RATE = 10.0, (0.3, 1.5), 2e3
EDGE_QUEUE = 1.0
"""Seconds: base stations hold what they cannot send for longer than others do."""


def with_outages(length: float, seconds: float) -> Path:
    """A clean path that carries nothing for ``length`` s, again and again."""
    starts = np.arange(OUTAGE_FIRST, seconds - length - 4.0, OUTAGE_EVERY).tolist()
    outages = tuple((start, start + length) for start in starts)
    stages = [Stage()]
    for start, end in outages:
        stages += [Stage(start, loss=1.0), Stage(end)]
    return Path(f"outages of {length:g} s", "nothing comes through", tuple(stages), outages=outages)


def cell_edge(seconds: float) -> Path:
    """A telephone at the edge of its cell, the same each time: every 0.5 s the rate is multiplied
    by exp(N(0, 0.35)) within 12 to 256 kbit/s and the delay one way moves by N(0, 10 ms) within 40
    to 160 ms; about every 10 s it fades to 2 kbit/s for 0.3 to 1.5 s."""
    draw = np.random.default_rng(EDGE_SEED)
    rate, delay, fade_at = EDGE_RATE, EDGE_DELAY, float(draw.exponential(EDGE_FADE_EVERY))
    fade_until = -FAR
    stages = []
    for since in np.arange(0.0, seconds, EDGE_STEP).tolist():
        rate = float(np.clip(rate * math.exp(draw.normal(0, 0.35)), EDGE_LOWEST, EDGE_HIGHEST))
        delay = float(np.clip(delay + draw.normal(0, 0.01), EDGE_SHORTEST, EDGE_LONGEST))
        if since >= fade_at:
            fade_until = since + float(draw.uniform(*EDGE_FADE))
            fade_at = fade_until + float(draw.exponential(EDGE_FADE_EVERY))
        stages.append(Stage(since, EDGE_FADE_RATE if since < fade_until else rate, delay, 0.005))
    return Path("edge of a cell", "rate and delay wander, and fade", tuple(stages), EDGE_QUEUE)


BURST = 1.5
"""Packets lost in a row, on average, where they are in bursts."""
NARROW = 1.3 * 9.66e3
"""Bit/s: 1.3 times what 8 frames a packet take with headers, see docs/link.md."""


def paths(seconds: float) -> dict[str, Path]:
    """The paths of the benchmark by short names, for a talk of so many seconds."""

    def slow(kbps: float) -> Path:
        return Path(f"{kbps:.3g} kbit/s", "a narrow link", (Stage(rate=kbps * 1e3),))

    def lossy(percent: int) -> Path:
        stage = Stage(loss=percent / 100)
        return Path(f"{percent} % lost", "each packet for itself", (stage,))

    def bursty(percent: int) -> Path:
        stage = Stage(loss=percent / 100, burst=BURST)
        return Path(f"{percent} % in bursts", "1.5 packets in a row on average", (stage,))

    return {
        "clean": Path("clean", "20 ms one way"),
        "loss-2": lossy(2),
        "loss-5": lossy(5),
        "loss-10": lossy(10),
        **{f"burst-{percent}": bursty(percent) for percent in (2, 5, 10, 20)},
        "jitter": Path("50 ± 20 ms", "one way, in order", (Stage(delay=0.05, jitter=0.02),)),
        "kbit-32": slow(32),
        "kbit-16": slow(16),
        "kbit-12": slow(NARROW / 1e3),
        "kbit-8": slow(8),
        "outage-1": with_outages(1.0, seconds),
        "outage-5": with_outages(5.0, seconds),
        "edge": cell_edge(seconds),
    }


def only(names: Sequence[str] | None, seconds: float) -> list[tuple[str, Path]]:
    """The paths of these short names, all for None. Raises ValueError for one that is unknown."""
    known = paths(seconds)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"expected paths of {', '.join(known)}, got {', '.join(unknown)}")
    return [(name, path) for name, path in known.items() if names is None or name in names]
