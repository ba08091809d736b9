"""Percentiles, ratios of pairs, and turns; a clock of our own, so nothing is really timed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kit.statistics import (
    LEAST_ROUNDS,
    TURN,
    paired_ratio,
    percentiles,
    time_in_turns,
    undisturbed_ratio,
)


class Clock:
    """Seconds that pass only while a call says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def test_percentiles_are_those_of_numpy() -> None:
    values = np.arange(101.0)
    assert percentiles(values) == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "count": 101.0}
    with pytest.raises(ValueError, match="expected at least one value"):
        percentiles([])


def test_noise_that_hits_both_of_a_pair_cancels() -> None:
    noise = np.random.default_rng(0).uniform(1, 10, 50)
    ratio = paired_ratio(3 * noise, noise)
    assert ratio == pytest.approx({"p5": 3.0, "p50": 3.0, "p95": 3.0})
    with pytest.raises(ValueError, match="got 2 values and 3 references"):
        paired_ratio([1, 2], [1, 2, 3])


def test_interruptions_do_not_show_in_an_undisturbed_ratio() -> None:
    disturbed = np.full(40, 2.0)
    disturbed[10:] += 4.0
    assert undisturbed_ratio(disturbed, np.full(40, 1.0)) == 2.0


def test_everybody_has_turns_and_is_timed_alone() -> None:
    clock = Clock()
    order: list[str] = []

    def call(name: str, seconds: float) -> None:
        order.append(name)
        clock.work(seconds)

    times = time_in_turns(
        {"fast": lambda: call("fast", 0.5), "slow": lambda: call("slow", 2.0)},
        seconds=1e9, most=10 * TURN, clock=clock,
    )  # fmt: skip
    assert {name: set(t) for name, t in times.items()} == {"fast": {0.5}, "slow": {2.0}}
    assert len(times["fast"]) == len(times["slow"]) == 10 * TURN
    assert order.count("fast") == order.count("slow") == 1 + 10 * (TURN + 1)
    turns = "".join(name[0] for name in order[2 :: TURN + 1])
    assert "fs" in turns and "sf" in turns and turns not in ("fs" * 10, "sf" * 10)


def test_time_that_is_up_ends_it_but_not_before_a_few_rounds() -> None:
    clock = Clock()
    times = time_in_turns({"a": lambda: clock.work(5.0)}, seconds=1.0, most=1000, clock=clock)
    assert len(times["a"]) == LEAST_ROUNDS * TURN
