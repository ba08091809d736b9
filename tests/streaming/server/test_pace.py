"""Shares of the event loop, on a clock that is moved by hand."""

from __future__ import annotations

import asyncio

from streaming.server.pace import IN_A_ROW, MESSAGE_BYTES, SHARED_BURST, Allowance, Pace, Pool


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


def turns_of_others(messages: int, size: int) -> int:
    """How often another task ran while one session, at peace with its allowance, spent."""

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
