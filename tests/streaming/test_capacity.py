"""How many streams a machine holds, from what a step was measured to take."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from facodec.codec import Codec
from streaming import capacity
from streaming.capacity import HOP_SECONDS, SHARE, Measured, measure
from streaming.protocol import Hello, ProtocolError
from streaming.runtime import Mailbox, Runtime
from streaming.settings import ServerSettings

BUDGET = SHARE * HOP_SECONDS


def test_streams_are_as_many_as_fit_into_a_hop() -> None:
    costs = Measured({1: 0.2 * BUDGET, 2: 0.3 * BUDGET, 3: 0.9 * BUDGET, 4: 1.1 * BUDGET}, 0)
    assert costs.streams(threads=1) == 3
    assert costs.hop(6) == pytest.approx(1.4 * BUDGET)


def test_a_size_that_was_held_up_while_it_was_timed_does_not_count() -> None:
    costs = Measured({1: 0.1 * BUDGET, 2: 5.0 * BUDGET, 4: 0.4 * BUDGET, 8: 1.1 * BUDGET}, 0)
    assert costs.streams(threads=1) == 4


def test_more_than_the_largest_batch_takes_several() -> None:
    costs = Measured(dict.fromkeys(capacity.BUCKETS, 0.4 * BUDGET), 0)
    assert costs.streams(threads=1) == 2 * capacity.BUCKETS[-1]


def test_who_serves_a_model_may_try_it_and_threads_share_cores() -> None:
    slow = Measured({1: 10 * HOP_SECONDS}, 0)
    assert slow.streams(threads=1) == 1
    assert slow.streams(threads=10_000) == os.cpu_count()


def test_measuring_once(untrained: Codec) -> None:
    measured = measure(untrained)
    assert measure(untrained) is measured
    sizes = list(measured.seconds)
    assert sizes == list(capacity.BUCKETS[: len(sizes)])
    assert all(seconds > 0 for seconds in measured.seconds.values())
    assert 0 < measured.state_bytes <= 64 * 1024
    assert measured.to_json()["state_bytes"] == measured.state_bytes


def runtime(codec: Codec, settings: ServerSettings, streams: int) -> Runtime:
    """One that was measured to hold so many streams."""
    made = Runtime(settings, {"live": codec}, lambda: 0.0)
    seconds = {size: 0.9 * BUDGET * size / streams for size in capacity.BUCKETS}
    made.measured["live"] = Measured(seconds, 1000)
    return made


def test_a_full_machine_takes_no_more_streams(untrained: Codec) -> None:
    full = runtime(untrained, ServerSettings(), streams=4)
    duplex, half = Hello("loopback"), Hello("encode")
    for hello in (duplex, half, half, duplex):
        full.open_stream(full.plan(hello)[1], lambda outcome: None)
    assert full.engine.load == pytest.approx(3 / full.capacity())
    while full.engine.load < 1.0:
        last = full.open_stream(full.plan(half)[1], lambda outcome: None)
    with pytest.raises(ProtocolError, match="overloaded"):
        full.plan(half)
    last.close()
    full.plan(half)


def test_who_sets_the_number_of_sessions_is_believed(untrained: Codec) -> None:
    told = runtime(untrained, ServerSettings(max_sessions=100), streams=1)
    for _ in range(5):
        told.open_stream(told.plan(Hello("loopback"))[1], lambda outcome: None)


def test_memory_is_told(untrained: Codec) -> None:
    memory = runtime(untrained, ServerSettings(backlog=1.0, outbox=2.0), streams=4).memory()
    assert memory["state_bytes_per_stream"] == 1000
    assert memory["queue_bytes_per_stream_most"] == 3 * 64_000 + ServerSettings().max_message


def test_calls_from_threads_all_arrive_in_order() -> None:
    async def scenario() -> None:
        mailbox, got = Mailbox(), {i: [] for i in range(4)}  # type: ignore[var-annotated]
        done = asyncio.Event()
        mailbox.open(asyncio.get_running_loop())

        def arrive(thread: int, number: int) -> None:
            got[thread].append(number)
            if sum(map(len, got.values())) == 4 * 500:
                done.set()
            if number == 250:
                raise RuntimeError("one that fails is only logged")

        def post(thread: int) -> None:
            for number in range(500):
                mailbox.post(lambda number=number: arrive(thread, number))

        threads = [threading.Thread(target=post, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(done.wait(), 30)
        assert all(numbers == list(range(500)) for numbers in got.values())

    asyncio.run(scenario())
