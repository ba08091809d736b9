"""Turns of streams, by a clock that the test turns."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streaming.engine.fairness import (
    ALLOWANCE,
    BEGINNING,
    BURST,
    FRAME_RATE,
    LEAST,
    LIVE,
    RATE,
    SHARE,
    STEP,
    Credit,
    Leftover,
    late_frames,
    late_rows,
)
from streaming.engine.turns import TURN_FRAMES, Queue
from streaming.wire.media import Frames, Media, Sound


def frames(count: int) -> Frames:
    return Frames(np.zeros((6, count), np.int64))


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("clock_error", [-0.02, 0.0, 0.02])
def test_real_time_is_always_on_time(size: int, clock_error: float) -> None:
    credit = Credit(0.0)
    period = size / FRAME_RATE * (1.0 + clock_error)
    assert all(credit.spend(size, i * period) for i in range(10_000))


def test_what_piled_up_while_the_network_stood_is_on_time() -> None:
    credit = Credit(0.0)
    assert credit.spend(BEGINNING, 0.0) and not credit.spend(1, 0.0)
    stood = 0.9 * ALLOWANCE / RATE
    assert credit.spend(stood * FRAME_RATE, stood)


def test_nobody_saves_up_more_than_the_allowance() -> None:
    credit = Credit(0.0)
    assert not credit.spend(ALLOWANCE + 1, 1e6)
    assert credit.spend(ALLOWANCE, 1e6)


def test_a_clock_that_stands_or_goes_back_earns_nothing() -> None:
    credit = Credit(10.0)
    assert credit.spend(BEGINNING, 10.0)
    assert not credit.spend(1, 5.0)


def used(on_time: float, seconds: float = 30.0) -> float:
    """Share of the time that who catches up gets beside so much work that is on time."""
    leftover, now, step, spent = Leftover(0.0), 0.0, 0.002, 0.0
    while now < seconds:
        leftover.take(on_time * step)
        now += step
        if not leftover.wait(now):
            leftover.spend(step)
            spent += step
    return spent / seconds


def test_who_catches_up_gets_what_is_left_of_the_share() -> None:
    assert used(0.0) == pytest.approx(SHARE, rel=0.05)
    assert used(0.2) == pytest.approx(SHARE - 0.2, rel=0.1)


def test_and_never_less_than_the_least() -> None:
    assert used(0.9) == pytest.approx(LEAST, rel=0.1)


def test_rest_is_not_saved_up() -> None:
    leftover = Leftover(0.0)
    assert leftover.wait(1e6) == 0.0
    leftover.spend(1.1 * BURST)
    leftover.spend(1.1 * BURST)
    assert leftover.wait(1e6) > 0.0


def test_busy_hours_are_not_held_against_who_catches_up_for_long() -> None:
    leftover = Leftover(0.0)
    leftover.take(3600.0)
    leftover.wait(0.0)
    leftover.spend(BURST)
    assert leftover.wait(0.0) <= BURST / LEAST


def test_steps_of_who_catches_up_are_short() -> None:
    assert late_frames(lambda streams: 0.0002, TURN_FRAMES) == TURN_FRAMES
    assert late_frames(lambda streams: 0.009, TURN_FRAMES) == 1  # no step is shorter than a frame
    assert late_frames(None, TURN_FRAMES) == TURN_FRAMES
    sizes = (1, 2, 4, 8, 16)
    assert late_rows(lambda streams: 2.0 * STEP / 8, sizes) == 8
    assert late_rows(lambda streams: 10.0, sizes) == 1
    assert late_rows(None, sizes) == 16


def test_who_sends_ahead_is_late_until_all_of_it_is_computed() -> None:
    queue = Queue(Credit(0.0))
    queue.put(frames(80), None, 0.0)
    first, second = queue.take(), queue.take()
    assert not first[0].late and not second[0].late
    assert queue.is_late and queue.coming() == TURN_FRAMES
    rest = []
    while queue:
        rest += queue.take()
    assert all(job.late for job in rest) and queue.frames == 80
    queue.put(frames(1), None, 100.0)  # by now it has earned it, but it must wait behind the rest
    assert queue.is_late
    queue.done([*first, *second, *rest, *queue.take()])
    queue.put(frames(1), None, 100.0)
    assert not queue.is_late and queue.frames == 1


def test_a_server_that_is_behind_does_not_make_anybody_late() -> None:
    queue = Queue(Credit(0.0))
    for i in range(1000):
        queue.put(frames(1), None, i / FRAME_RATE)
    jobs = []
    while queue:
        jobs += queue.take()
    assert len(jobs) == 1000 and not any(job.late for job in jobs)


def test_a_turn_is_late_or_on_time_as_a_whole() -> None:
    queue = Queue(Credit(0.0, beginning=4.0))
    for _ in range(8):
        queue.put(frames(1), None, 0.0)
    assert queue.coming() == 4
    assert [len(queue.take()), len(queue.take())] == [4, 4]


def test_long_pieces_are_cut_for_short_turns() -> None:
    queue = Queue(Credit(0.0, beginning=0.0))
    queue.put(frames(5), 1.5, 0.0)
    sizes = []
    while queue:
        jobs = queue.take(2)
        sizes.append(sum(job.item.frames for job in jobs))
        assert [job.t for job in jobs] == [1.5]
        queue.done(jobs)
    assert sizes == [2, 2, 1]
    assert queue.frames == 0 and queue.put(frames(1), None, 1.0) and not queue.is_late


@pytest.mark.parametrize("item", [Sound(np.zeros(0, np.float32)), frames(0)])
def test_nothing_is_not_queued(item: Media) -> None:
    queue = Queue(Credit(0.0))
    assert not queue.put(item, None, 0.0)
    assert not queue and queue.frames == 0


def test_tiny_pieces_fill_the_queue_too() -> None:
    queue = Queue(Credit(0.0, most=math.inf, beginning=math.inf))
    pieces = 0
    while queue.frames < 160:
        queue.put(Sound(np.zeros(1, np.float32)), None, 0.0)
        pieces += 1
    assert pieces <= 1280
    assert len(queue.take()) <= 64


def test_who_is_far_ahead_is_not_live() -> None:
    queue = Queue(Credit(0.0))
    queue.put(frames(1), None, 0.0)
    assert queue.is_live(0.5 * LIVE) and not queue.is_live(1.5 * LIVE)
    for i in range(160):  # the server is behind, not the sender ahead
        queue.put(frames(1), None, 2.0 + i / FRAME_RATE)
    assert queue.is_live(2.0 + 160 / FRAME_RATE)
    for _ in range(3):
        queue.put(frames(80), None, 4.0)
    assert not queue.is_live(4.0)
