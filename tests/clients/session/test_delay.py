"""The delay of a talk from mouth to ear over bad paths, with clocks of the test's own."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.link.conditions import paths
from benchmarks.link.hearing import AFTER, STALL
from tests.talks import PERIOD, Heard, Talk

SPEECH, PAUSE = 2.0, 0.8
"""Seconds of speech, and of the pause after it."""


def in_turns(frame: int) -> bool:
    """Somebody speaks and pauses."""
    return frame * PERIOD % (SPEECH + PAUSE) < SPEECH


def always(frame: int) -> bool:
    return True


def stalls(heard: Heard) -> list[tuple[float, float]]:
    """Gaps (from the last packet of speech, to the next) that are longer than any pause."""
    times = np.array(heard.arrivals)
    gaps = np.flatnonzero(np.diff(times) > STALL)
    return [(float(times[i]), float(times[i + 1])) for i in gaps]


def base_of(heard: Heard, until: float) -> float:
    before = heard.delays[(heard.times < until) & (heard.times > 2)]
    return float(np.median(before))


@pytest.mark.parametrize("name", list(paths(30.0)))
def test_see(name: str) -> None:
    heard = Talk(paths(30.0)[name], in_turns).over(30.0)
    gaps = [(a, b) for a, b in stalls(heard) if b - a < 0.7 or b - a > 0.9]
    first = gaps[0][0] if gaps else 30.0
    base = base_of(heard, max(first, 4.0))
    late = []
    for number, (_, back) in enumerate(gaps):
        until = gaps[number + 1][0] if number + 1 < len(gaps) else 99
        after = heard.delays[(heard.times >= back + AFTER) & (heard.times < until)]
        late.append(round(1e3 * (after.max() - base)) if len(after) else None)
    print(
        name,
        "base",
        round(base * 1e3),
        "p50",
        round(1e3 * np.median(heard.delays)),
        "p99",
        round(1e3 * np.percentile(heard.delays, 99)),
        "gaps",
        [(round(a, 2), round(b, 2)) for a, b in gaps],
        late,
        heard.counters,
        heard.playout.counters,
        heard.playout.target,
    )
