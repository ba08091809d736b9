"""Number of streams that a machine holds, from what a step was measured to take."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from facodec.bundled.model import BLOCK_FRAMES, block_sizes
from facodec.codec import Codec
from facodec.config import HOP
from streaming.engine import capacity
from streaming.engine.capacity import (
    BOUND,
    DOUBT,
    FEWEST,
    HOP_SECONDS,
    PACE,
    SHARE,
    WINDOW,
    Measured,
    Slowness,
    measure,
)
from streaming.server.runtime import Mailbox, Runtime
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import Hello, ProtocolError, Voice

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


class Machine:
    """Ticks of a server by a clock of its own: ``slow`` times as long as expected, as many as
    take ``busy`` of the time."""

    def __init__(self, seed: int = 0) -> None:
        self.slowness = Slowness(0.0)
        self.now = 0.0
        self.random = np.random.default_rng(seed)

    def run(self, windows: float, slow: float, busy: float, held_up: float = 0.0) -> list[float]:
        """``held_up``: share of the ticks in which something else took the core. Returns all
        values on the way."""
        values = []
        end = self.now + windows * WINDOW
        while self.now < end:
            taken = 0.002 * slow * self.random.uniform(0.9, 1.1)
            if self.random.random() < held_up:
                taken *= self.random.uniform(2, 20)
            self.now += 0.002 * slow / busy
            self.slowness.add(0.002, taken, self.now)
            values.append(self.slowness.value)
        return values


def test_a_machine_that_is_as_it_was_measured_keeps_its_offer() -> None:
    machine = Machine()
    assert set(machine.run(50, slow=1.05, busy=0.3, held_up=0.2)) == {1.0}


@pytest.mark.parametrize("slow", [0.3, 0.7, 1.6, 3.0])
def test_the_offer_follows_what_steps_take(slow: float) -> None:
    machine = Machine()
    values = machine.run(30, slow, busy=0.3, held_up=0.2)
    assert values[-1] == pytest.approx(slow, rel=DOUBT - 0.99)
    changes = [after / before for before, after in pairwise(values) if after != before]
    assert all(1 / PACE - 1e-9 <= change <= PACE + 1e-9 for change in changes)
    settled = values[2 * len(values) // 3 :]
    assert len(set(settled)) == 1


def test_a_busy_first_second_is_forgotten() -> None:
    measured = Measured({1: 2.0 * BUDGET, 2: 3.0 * BUDGET, 4: 4.0 * BUDGET}, 0)
    assert measured.streams(1) == 1
    machine = Machine()
    machine.run(40, slow=0.2, busy=0.1)  # in truth it is five times as fast
    assert measured.streams(1, machine.slowness.value) == 4


def test_a_machine_with_little_to_do_is_not_called_slow() -> None:
    machine = Machine()
    assert set(machine.run(20, slow=2.5, busy=0.05)) == {1.0}


def test_few_ticks_tell_nothing() -> None:
    slowness = Slowness(0.0)
    for i in range(100):
        slowness.add(0.002, 0.01, i * WINDOW / (FEWEST / 2))
    assert slowness.value == 1.0


def test_it_is_bounded() -> None:
    machine = Machine()
    assert machine.run(60, slow=8.0, busy=0.4)[-1] == BOUND
    assert machine.run(60, slow=0.1, busy=0.2)[-1] == 1 / BOUND


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


def test_codes_that_go_out_as_codes_take_little(untrained: Codec) -> None:
    many = runtime(untrained, ServerSettings(), streams=4)
    light = Hello("convert", input="codes", output="codes", voice=Voice.exact(np.zeros(256)).data)
    for _ in range(4):
        many.open_stream(many.plan(light)[1], lambda outcome: None)
    assert many.engine.load == pytest.approx(1 / many.capacity())
    assert many.share_of(light) == 1 / 4 and many.share_of(Hello("encode")) == 1.0
    # They tell nothing of how fast the machine computes the codec.
    assert many.plan(light)[1].cost is None and many.plan(Hello("encode"))[1].cost is not None
    told = runtime(untrained, ServerSettings(max_sessions=1), streams=4)
    assert told.share_of(light) == 1.0


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


def test_offers_move_with_the_machine_for_those_who_are_there_too(untrained: Codec) -> None:
    full = runtime(untrained, ServerSettings(), streams=8)
    hello = Hello("loopback")
    for _ in range(8):
        full.open_stream(full.plan(hello)[1], lambda outcome: None)
    with pytest.raises(ProtocolError, match="overloaded"):
        full.plan(hello)
    full.slowness.value = 0.5
    assert full.capacity() == 16 and full.engine.load == pytest.approx(0.5)
    full.plan(hello)
    full.slowness.value = 2.0
    assert full.capacity() == 4 and full.engine.load == pytest.approx(2.0)


def test_a_recording_of_any_length_is_no_first_one(
    live: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    voice = live.model.voice

    def listen(audio: torch.Tensor) -> torch.Tensor:
        heard.extend(block_sizes(audio.shape[1] // HOP))
        return voice(audio)

    monkeypatch.setattr(live.model, "voice", listen)
    Runtime(ServerSettings(port=0), {"live": live}, time.perf_counter).warm_up()
    every = {size for frames in range(1, 2 * BLOCK_FRAMES) for size in block_sizes(frames)}
    assert set(heard) == every


def test_publishers_of_codes_take_none_of_what_computes(untrained: Codec) -> None:
    many = runtime(untrained, ServerSettings(), streams=4)
    publish = Hello("publish", "codes", room="a")
    for _ in range(many.settings.max_rooms):
        many.open_stream(many.plan(publish)[1], lambda outcome: None)
    assert many.engine.load == 0.0 and many.settings.max_rooms > 100
    for _ in range(4):
        many.open_stream(many.plan(Hello("loopback"))[1], lambda outcome: None)
    many.plan(publish)
    with pytest.raises(ProtocolError, match="no room for one more stream"):
        many.plan(Hello("loopback"))
