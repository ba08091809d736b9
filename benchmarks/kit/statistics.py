"""Durations as figures: percentiles, ratios of pairs, and calls timed in turns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from facodec.config import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Seconds = NDArray[np.float64]

Figures = dict[str, float]
HOP_MS = HOP / SAMPLE_RATE * 1000
LEAST_ROUNDS = 3
"""Rounds that are run even when they take longer than the time allowed."""
TURN = 4
"""Timed calls in a row of one kind before the next kind has its turn."""


def percentiles(values: ArrayLike) -> Figures:
    """{p50, p95, p99, count} of values in any unit. Raises ValueError for none at all."""
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise ValueError("expected at least one value to take percentiles of, got none")
    p50, p95, p99 = np.percentile(array, (50, 95, 99))
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "count": float(array.size)}


def paired_ratio(values: ArrayLike, reference: ArrayLike) -> Figures:
    """{p5, p50, p95} of value over reference, pair by pair: noise that hit both cancels.

    Raises ValueError where the two are not equally many."""
    import numpy as np

    above, below = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if above.shape != below.shape or not above.size:
        raise ValueError(f"expected pairs, got {above.size} values and {below.size} references")
    p5, p50, p95 = np.percentile(above / below, (5, 50, 95))
    return {"p5": float(p5), "p50": float(p50), "p95": float(p95)}


def undisturbed_ratio(values: ArrayLike, reference: ArrayLike) -> float:
    """First decile over first decile: what a call takes when nobody interrupts it. Long calls are
    interrupted more often than short ones, so the median of pairs would tell how busy the machine
    is; this hardly does."""
    import numpy as np

    above, below = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    return float(np.percentile(above, 10) / np.percentile(below, 10))


def time_in_turns(
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
    most: int,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Seconds]:
    """Seconds that each call took, by name, all of them equally many.

    A round makes every call in its turn, in an order that is shuffled anew, so whatever else the
    machine does hits all of them alike. A turn is one untimed call, which finds the caches full of
    somebody else's weights, and :data:`TURN` timed ones. It goes on for ``seconds`` or ``most``
    timed calls each, but for :data:`LEAST_ROUNDS` rounds in any case. One whole round at the start
    is not timed.
    """
    import numpy as np

    shuffled = random.Random(seed)
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        calls[name]()
    began = clock()
    for done in range(max(LEAST_ROUNDS, -(-most // TURN))):
        if done >= LEAST_ROUNDS and clock() - began >= seconds:
            break
        shuffled.shuffle(names)
        for name in names:
            calls[name]()
            for _ in range(TURN):
                start = clock()
                calls[name]()
                times[name].append(clock() - start)
    return {name: np.array(times[name]) for name in calls}


def most_streams(ticks: list[dict[str, Any]]) -> dict[str, int]:
    """Most streams whose tick was within a hop at the 99th percentile, by model and precision."""
    most: dict[str, int] = {}
    for tick in ticks:
        name = f"{tick['model']} {tick['precision']}"
        fits = tick["replayed_ms"]["p99"] <= HOP_MS
        most[name] = max(most.get(name, 0), tick["streams"] if fits else 0)
    return most
