from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from facodec.codec import Codec
from facodec.config import HOP
from facodec.streams.batching import Aside, Request, Work
from streaming.engine.engine import Engine
from streaming.engine.fairness import ALLOWANCE, BEGINNING, BURST, FRAME_RATE
from streaming.engine.pipeline import Pipeline, plan
from streaming.engine.streams import Outcome
from streaming.engine.turns import TURN_FRAMES
from streaming.wire.media import Frames, Media, Sound, Timbre
from streaming.wire.protocol import Hello, ProtocolError


class Count:
    """A stage that notes what it is fed and passes it on."""

    decodes = False

    def __init__(self, name: str, journal: list[tuple[str, int]]) -> None:
        self._name = name
        self._journal = journal

    def feed(self, item: Media) -> list[Media]:
        self._journal.append((self._name, int(item.frames)))
        return [item]

    def finish(self) -> list[Media]:
        self._journal.append((self._name, -1))
        return []


class Break:
    """A stage that fails."""

    decodes = False

    def __init__(self, error: Exception) -> None:
        self._error = error

    def feed(self, item: Media) -> list[Media]:
        raise self._error

    def finish(self) -> list[Media]:
        return []


class Long:
    """A stage that computes something long of its own, when it is fed."""

    decodes = False

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def feed(self, item: Media) -> Work[list[Media]]:
        return self._work(item)

    def finish(self) -> list[Media]:
        return []

    def _work(self, item: Media) -> Work[list[Media]]:
        yield Aside(self._call)
        return [item]


@dataclass(eq=False)
class Step(Request):
    """A step of a model that gives nothing."""

    rank = 2
    group = "steps"

    @classmethod
    def answer(cls, requests: Sequence[Any]) -> Sequence[Any]:
        return [None] * len(requests)


class Stepping(Count):
    """A stage that needs a step for every frame, and notes each."""

    def feed(self, item: Media) -> Work[list[Media]]:
        for _ in range(int(item.frames)):
            yield Step()
            self._journal.append((self._name, 1))
        return [item]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def frames(count: int, value: int = 0) -> Frames:
    return Frames(np.full((6, count), value, np.int64))


def counting(name: str, journal: list[tuple[str, int]]) -> Callable[[], Pipeline]:
    return lambda: Pipeline([Count(name, journal)])


def run_dry(engine: Engine) -> None:
    while engine.tick():
        pass


def test_streams_take_turns_of_bounded_length() -> None:
    engine, journal = Engine(clock=Clock()), []
    greedy = engine.open(counting("greedy", journal), lambda outcome: None)
    live = engine.open(counting("live", journal), lambda outcome: None)
    greedy.submit(frames(20))
    live.submit(frames(1))
    assert engine.tick() == 2
    assert journal == [("greedy", TURN_FRAMES), ("live", 1)]
    live.submit(frames(1))
    engine.tick()
    assert journal[2:] == [("greedy", TURN_FRAMES), ("live", 1)]
    run_dry(engine)
    assert journal[4:] == [("greedy", 4)]


def test_who_is_on_time_goes_before_all_who_are_not() -> None:
    engine, journal = Engine(clock=Clock()), []
    streams = [engine.open(counting(str(i), journal), lambda outcome: None) for i in range(4)]
    for stream in streams[:3]:
        stream.submit(frames(80))
    while ("0", TURN_FRAMES) not in journal[6:]:  # what they may have on time is over
        engine.tick()
    streams[3].submit(frames(1))
    done = len(journal)
    engine.tick()
    assert journal[done:] == [("3", 1)]
    run_dry(engine)
    assert journal.count(("0", TURN_FRAMES)) == 10


def hop(sound: np.ndarray, number: int, count: int = 1) -> Sound:
    return Sound(sound[number * HOP : (number + count) * HOP])


def test_who_is_on_time_waits_for_one_step_at_most(live: Codec, hello: np.ndarray) -> None:
    engine, order = Engine(clock=Clock()), []
    make = plan(Hello("loopback"), live, live.voice(hello), 60.0)
    ahead = engine.open(make, lambda outcome: order.append("ahead"))
    prompt = engine.open(make, lambda outcome: order.append("prompt"))
    for number in range(3):
        ahead.submit(hop(hello, 8 * number, 8))
    prompt.submit(hop(hello, 0))
    while len(order) < 3:
        engine.tick()
    engine.tick()  # begins what is late
    assert order == ["prompt", "ahead", "ahead"]
    prompt.submit(hop(hello, 1))
    engine.tick()
    assert order[3:] == ["prompt"]
    run_dry(engine)
    assert order[4:] == ["ahead"]


def test_short_turns_overtake_long_ones(live: Codec, hello: np.ndarray) -> None:
    engine, order = Engine(clock=Clock()), []
    make = plan(Hello("loopback"), live, live.voice(hello), 60.0)
    short = engine.open(make, lambda outcome: order.append("short"))

    def on_middle(outcome: Outcome) -> None:
        order.append("middle")
        short.submit(hop(hello, 0))

    long = engine.open(make, lambda outcome: order.append("long"))
    middle = engine.open(make, on_middle)
    long.submit(hop(hello, 0, 8))
    middle.submit(hop(hello, 0, 4))
    engine.tick()
    assert order == ["middle", "short", "long"]


def test_who_is_ahead_gets_what_is_left_beside_live_ones() -> None:
    clock, journal = Clock(), []
    engine = Engine(clock=clock)
    ahead = engine.open(counting("ahead", journal), lambda outcome: clock_on(clock, 2 * BURST))
    live = engine.open(counting("live", journal), lambda outcome: None)

    def second_passes() -> float:
        """Frames of the one who is ahead that were computed, while the other talks."""
        done, end = len(journal), clock.now + 1.0
        while clock.now < end:
            live.submit(frames(1))
            if ahead.backlog < 100:
                ahead.submit(frames(80))
            before = clock.now
            run_dry(engine)
            clock.now = max(clock.now, before + 1.0 / FRAME_RATE)
        return sum(n for name, n in journal[done:] if name == "ahead")

    second_passes()
    beside = second_passes()
    assert FRAME_RATE <= beside <= 0.6 * TURN_FRAMES / (2 * BURST)


def clock_on(clock: Clock, seconds: float) -> None:
    clock.now += seconds


def test_who_is_alone_waits_for_nobody() -> None:
    clock, journal = Clock(), []
    engine = Engine(clock=clock)
    ahead = engine.open(counting("a", journal), lambda outcome: clock_on(clock, 2 * BURST))
    for _ in range(20):
        ahead.submit(frames(80))
        run_dry(engine)
    assert ahead.backlog == 0
    assert clock.now == pytest.approx(200 * 2 * BURST)


def test_nobody_starves_while_others_take_all_the_time() -> None:
    clock, journal = Clock(), []
    engine = Engine(clock=clock)
    ahead = engine.open(counting("ahead", journal), lambda outcome: clock_on(clock, 2 * BURST))
    live = engine.open(counting("live", journal), lambda outcome: clock_on(clock, 0.02))
    ahead.submit(frames(80))
    ahead.submit(frames(80))
    while clock.now < 10.0:
        live.submit(frames(1))
        engine.tick()
        engine.tick()
    assert sum(n for name, n in journal if name == "ahead") == 160


def test_a_burst_after_a_standstill_of_the_network_is_on_time() -> None:
    clock, journal = Clock(), []
    engine = Engine(clock=clock)
    stood = engine.open(counting("stood", journal), lambda outcome: None)
    stood.submit(frames(int(BEGINNING)))
    run_dry(engine)
    clock.now = 1.0
    for _ in range(80):
        stood.submit(frames(1))
    assert ALLOWANCE > 80 and not stood.is_late


def test_what_is_long_holds_nobody_up() -> None:
    engine, served, finished = Engine(), threading.Event(), threading.Event()
    go_on = threading.Event()
    own = engine.open(
        lambda: Pipeline([Long(lambda: go_on.wait(30))]), lambda outcome: finished.set()
    )
    other = engine.open(lambda: Pipeline([]), lambda outcome: served.set())
    engine.start()
    own.submit(frames(1))
    for _ in range(3):
        served.clear()
        other.submit(frames(1))
        assert served.wait(30)
    assert not finished.is_set()
    go_on.set()
    assert finished.wait(30)
    engine.stop()


def test_what_is_long_fails_alone_and_is_dropped_with_its_stream() -> None:
    def fail() -> None:
        raise ProtocolError("too-long", ".")

    engine, outcomes, dropped = Engine(), [], []
    broken = engine.open(lambda: Pipeline([Long(fail)]), outcomes.append)
    broken.submit(frames(1))
    gone = engine.open(lambda: Pipeline([Long(lambda: None)]), dropped.append)
    gone.submit(frames(1))
    engine.tick()
    gone.close()
    run_dry(engine)
    assert [outcome.error.code for outcome in outcomes] == ["too-long"] and not dropped


def test_a_stream_that_is_closed_between_two_steps_is_computed_no_further(
    live: Codec, hello: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    encode = type(live.lanes).encode
    engine = Engine()
    make = plan(Hello("encode"), live, None, 60.0)
    stream = engine.open(make, lambda outcome: None)

    def hang_up(self: Any, lanes: Any, audio: Any, size: int) -> Any:
        steps.append(len(lanes))
        if len(steps) == 3:
            stream.close()
        return encode(self, lanes, audio, size)

    monkeypatch.setattr(type(live.lanes), "encode", hang_up)
    monkeypatch.setattr(live.lanes, "hops", (1,))
    stream.submit(hop(hello, 0, 8))
    run_dry(engine)
    assert len(steps) == 3
    assert engine.backlog == 0 and engine.streams == 0


def test_ticks_tell_what_they_took() -> None:
    told: list[tuple[float, float]] = []
    engine = Engine(observe=lambda expected, taken: told.append((expected, taken)))
    streams = [
        engine.open(
            lambda: Pipeline([]), lambda outcome: None, cost=lambda together: 1.0 / together
        )
        for _ in range(2)
    ]
    for size in (1, 1, 2):
        for stream in streams:
            stream.submit(frames(size))
        engine.tick()
    # Not of the first, which had the pipelines made.
    assert [expected for expected, _ in told] == [1.0, 2.0]
    assert all(taken >= 0 for _, taken in told)
    engine.open(lambda: Pipeline([]), lambda outcome: None).submit(frames(1))
    engine.tick()
    assert len(told) == 2


def test_small_packets_that_waited_are_computed_together_in_order() -> None:
    engine, outcomes = Engine(), []
    stream = engine.open(lambda: Pipeline([]), outcomes.append)
    for value in range(3):
        stream.submit(frames(1, value), t=float(value))
    stream.submit(Timbre(np.zeros(256, np.float32), exact=True))
    stream.submit(frames(1, 9))
    engine.tick()
    first, timbre, last = outcomes[0].media
    assert first.codes[0].tolist() == [0, 1, 2]
    assert isinstance(timbre, Timbre)
    assert last.codes[0].tolist() == [9]
    assert outcomes[0].t == 2.0


def test_backlog_counts_what_waits_and_is_computed() -> None:
    engine = Engine()
    stream = engine.open(lambda: Pipeline([]), lambda outcome: None)
    stream.submit(frames(20))
    assert stream.backlog == engine.backlog == 20
    engine.tick()
    assert stream.backlog == 20 - TURN_FRAMES
    run_dry(engine)
    assert engine.backlog == 0


def test_waiting_is_measured() -> None:
    clock, outcomes = Clock(), []
    engine = Engine(clock=clock)
    stream = engine.open(lambda: Pipeline([]), outcomes.append)
    stream.submit(frames(1))
    clock.now = 1.0
    stream.submit(frames(1))
    clock.now = 1.5
    engine.tick()
    assert (outcomes[0].queue, outcomes[0].queue_max) == (0.5, 1.5)


def test_end_flushes_once_after_everything() -> None:
    engine, journal, outcomes = Engine(), [], []
    stream = engine.open(counting("a", journal), outcomes.append)
    stream.submit(frames(10))
    stream.end()
    stream.end()
    stream.submit(frames(5))
    run_dry(engine)
    assert journal == [("a", 8), ("a", 2), ("a", -1)]
    assert [outcome.ended for outcome in outcomes] == [False, True]
    assert engine.streams == 0


def test_end_without_media_flushes_too() -> None:
    engine, outcomes = Engine(), []
    engine.open(lambda: Pipeline([]), outcomes.append).end()
    run_dry(engine)
    assert [outcome.ended for outcome in outcomes] == [True]


def test_a_closed_stream_is_forgotten() -> None:
    engine, journal, outcomes = Engine(), [], []
    stream = engine.open(counting("a", journal), outcomes.append)
    stream.submit(frames(80))
    engine.tick()
    stream.close()
    stream.submit(frames(80))
    run_dry(engine)
    assert len(journal) == len(outcomes) == 1
    assert engine.backlog == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [(ValueError("?"), "internal"), (ProtocolError("too-long", "."), "too-long")],
)
def test_a_failing_stream_ends_alone(error: Exception, code: str) -> None:
    engine, good, bad = Engine(), [], []
    broken = engine.open(lambda: Pipeline([Break(error)]), bad.append)
    stream = engine.open(lambda: Pipeline([]), good.append)
    for _ in range(3):
        broken.submit(frames(1))
        stream.submit(frames(1))
        engine.tick()
    assert [outcome.error.code for outcome in bad] == [code]
    assert len(good) == 3 and all(outcome.error is None for outcome in good)


def test_threads_keep_each_stream_in_order() -> None:
    engine = Engine(threads=3)
    finished = threading.Barrier(6)
    seen: dict[int, list[int]] = {index: [] for index in range(5)}

    def deliver_to(index: int) -> Callable[[Outcome], None]:
        def deliver(outcome: Outcome) -> None:
            for item in outcome.media:
                assert isinstance(item, Frames)
                seen[index] += item.codes[0].tolist()
            if outcome.ended:
                threading.Thread(target=finished.wait, args=(10,)).start()

        return deliver

    streams = [engine.open(lambda: Pipeline([]), deliver_to(index)) for index in seen]
    engine.start()
    for value in range(50):
        for stream in streams:
            stream.submit(frames(1, value))
    for stream in streams:
        stream.end()
    finished.wait(10)
    engine.stop()
    assert all(values == list(range(50)) for values in seen.values())


def test_who_fell_behind_gets_real_time_beside_those_who_never_rest() -> None:
    """A live stream after a standstill looks like a fast one; its real time is its own."""
    clock, journal = Clock(), []
    engine = Engine(clock=clock)
    behind = engine.open(counting("behind", journal), lambda outcome: None)
    on_time = engine.open(counting("on time", journal), lambda outcome: None)
    behind.submit(frames(1200))
    for _ in range(800):  # ten seconds, in which somebody on time is ready at every tick
        clock.now += 1 / 80
        on_time.submit(frames(1))
        engine.tick()
    done = {name: sum(n for who, n in journal if who == name) for name in ("behind", "on time")}
    assert done["on time"] == 800
    assert 800 <= done["behind"] <= 1000  # and no more than a twentieth beyond it, here


def test_a_turn_in_work_does_not_wait_for_those_who_never_rest() -> None:
    clock, journal = Clock(), []
    engine = Engine(clock=clock)
    pipeline = Pipeline([Stepping("behind", journal)])
    behind = engine.open(lambda: pipeline, lambda outcome: None)
    on_time = engine.open(counting("on time", journal), lambda outcome: None)
    behind.submit(frames(800))
    on_time.submit(frames(1))
    while engine.tick() and journal.count(("behind", 1)) <= BEGINNING:
        pass  # until a turn that is late has begun, as there was time for it
    begun = journal.count(("behind", 1))
    for _ in range(400):
        clock.now += 1 / 80
        on_time.submit(frames(1))
        engine.tick()
    assert 350 <= journal.count(("behind", 1)) - begun <= 500
