"""Shares of the event loop, on a clock that is moved by hand."""

from __future__ import annotations

import asyncio

import pytest

from streaming.server.pace import (
    BURST,
    CROWD,
    FAN_TURN,
    IN_A_ROW,
    MESSAGE_BYTES,
    SHARED_BURST,
    Allowance,
    FanOut,
    Pace,
    Pool,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_allowance_fills_up_to_its_burst() -> None:
    clock = Clock()
    allowance = Allowance(rate=10.0, burst=5.0, clock=clock)
    assert [allowance.covers(2.0) for _ in range(3)] == [True, True, False]
    clock.now = 0.1
    assert allowance.covers(2.0)
    clock.now = 100.0
    assert allowance.covers(5.0) and not allowance.covers(0.5)


def test_debt_takes_its_time() -> None:
    clock = Clock()
    allowance = Allowance(rate=10.0, burst=5.0, clock=clock)
    assert allowance.owe(5.0) == 0.0
    assert allowance.owe(20.0) == 2.0
    clock.now = 3.0
    assert allowance.covers(10.0 - 5.0)


def test_debt_does_not_outlive_who_made_it() -> None:
    clock = Clock()
    allowance = Allowance(rate=10.0, burst=5.0, clock=clock)
    assert max(allowance.owe(1.0, longest=2.0) for _ in range(10_000)) == 2.0
    clock.now = 2.5
    assert allowance.covers(5.0)


def turns_of_others(messages: int, size: int) -> int:
    """Times that another task ran while one session, at peace with its allowance, spent."""

    async def scenario() -> int:
        pace, turns = Pace(Pool(Clock()), 1e9, Clock()), 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        for _ in range(messages):
            await pace.spend(size)
        task.cancel()
        return turns

    return asyncio.run(scenario())


def test_nobody_goes_on_for_ever() -> None:
    assert turns_of_others(messages=int(IN_A_ROW) * 10, size=0) >= 9
    assert turns_of_others(messages=10, size=4 * MESSAGE_BYTES) >= 9


def test_beyond_its_allowance_a_session_waits_for_the_pool_and_the_others_do_not() -> None:
    async def scenario() -> tuple[int, bool]:
        clock = Clock()
        pool = Pool(clock, rate=1e-3)
        greedy, modest = Pace(pool, 10.0, clock), Pace(pool, 10.0, clock)
        spent = 0

        async def spend_all() -> None:
            nonlocal spent
            while True:
                await greedy.spend(0)
                spent += 1

        task = asyncio.ensure_future(spend_all())
        for _ in range(1000):
            await asyncio.sleep(0)
        before = spent
        await modest.spend(0)
        task.cancel()
        return before, True

    spent, went_on = asyncio.run(scenario())
    assert went_on and spent == 5 + SHARED_BURST


class Counting(Pool):
    """Notes what is taken from it, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.taken = 0.0

    async def take(self, cost: float) -> None:
        self.taken += cost


def taken(frames: list[float], gap: float, listeners: int) -> float:
    """Load that a publisher takes from the pool for these frames (0: a voice), one every ``gap``
    s."""

    async def scenario() -> float:
        clock, pool = Clock(), Counting()
        fan_out = FanOut(pool, clock)
        for size in frames:
            await fan_out.spend(size, listeners)
            clock.now += gap
        return pool.taken

    return asyncio.run(scenario())


def test_what_goes_to_many_listeners_is_taken_from_the_pool_beyond_real_time() -> None:
    live = [size for _ in range(100) for size in (*[1.0] * 8, 0.0)]
    assert taken(live, 0.1 / 9, listeners=64) == 0.0
    assert taken(live, 0.0, listeners=64) >= 64 * (len(live) - 20)
    assert taken([0.0] * 900, 0.0, listeners=64) >= 64 * 880  # voices alone


def test_no_portion_is_more_than_others_can_wait_for() -> None:
    assert [FanOut.portion(listeners) for listeners in (1, 8, 64, 200)] == [16, 8, 1, 1]
    assert all(FanOut.portion(n) * n <= FAN_TURN for n in range(1, FAN_TURN + 1))


def test_a_crowd_has_no_more_of_its_own_than_as_many_as_have_it_whole() -> None:
    clock = Clock()

    def spent_in_a_second(crowd: int) -> float:
        pool = Counting()

        async def scenario() -> float:
            pace = Pace(pool, 200.0, clock)
            pace.share_with(crowd)
            for _ in range(1000):
                await pace.spend(0)
                clock.now += 1e-3
            return 1000 - pool.taken - 200.0 * BURST

        return asyncio.run(scenario())

    assert spent_in_a_second(1) == spent_in_a_second(CROWD) == pytest.approx(200, abs=1)
    assert spent_in_a_second(3 * CROWD) == pytest.approx(200 / 3, abs=1)
