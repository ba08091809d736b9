from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from streaming.engine import TURN_FRAMES, Engine, Outcome
from streaming.media import Frames, Media, Timbre
from streaming.pipeline import Pipeline
from streaming.protocol import ProtocolError


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
    engine, journal = Engine(), []
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


def test_a_late_live_stream_is_served_within_one_turn_of_each_other() -> None:
    engine, journal = Engine(), []
    streams = [engine.open(counting(str(i), journal), lambda outcome: None) for i in range(4)]
    for stream in streams[:3]:
        stream.submit(frames(80))
    engine.tick()
    streams[3].submit(frames(1))
    engine.tick()
    assert ("3", 1) in journal[3:7]


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
