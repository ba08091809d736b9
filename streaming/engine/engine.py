"""Many streams, one model: bounded queues in front of it, fair turns, its own thread(s).

The event loop only puts media into a :class:`Stream` and gets an :class:`Outcome` back through a
callback; all computing happens in :meth:`Engine.tick`, which the engine's threads call (and a test
can call without any). A tick collects a turn of every ready stream that is on time, computes them
in batches (see :mod:`facodec.streams.batching`) and delivers each result as soon as it is there.
What arrives meanwhile is the next tick's, so batches grow with the load and a lone stream waits for
nobody. Streams that send faster than real time have the rest of their turns computed in what is
left (see :mod:`streaming.engine.fairness`), a step at a time, so that who is on time waits for one
step at most. What is long and belongs to one stream alone, like the hearing of a whole recording,
is computed in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from facodec.streams.batching import LATE, Batcher, Failure
from streaming.engine.aside import AsideThread
from streaming.engine.fairness import LOOK, OVERTAKING, Cost, Credit, Leftover
from streaming.engine.pipeline import Given, Pipeline, Result
from streaming.engine.relay import Relay
from streaming.engine.schedule import Schedule
from streaming.engine.streams import Deliver, Outcome, Parts, Stream, Turn
from streaming.wire.protocol import ProtocolError

log = logging.getLogger(__name__)


class _Worker:
    """State of one model thread. ``seen``: changes of the schedule and ``closed``: streams that
    it knows of; ``pause``: seconds after which there is time for who catches up."""

    def __init__(self, aside: AsideThread[Turn], now: float) -> None:
        self.batcher: Batcher[Turn, Result] = Batcher(aside.put)
        self.leftover = Leftover(now)
        self.seen = self.closed = 0
        self.pause: float | None = None


class Engine:
    """Runs the pipelines of all streams.

    ``threads``: model threads; a stream is in at most one at a time and keeps its order.
    ``prepare``: called first in each thread. ``clock``: monotonic seconds. ``credit``: that a
    stream opened now has. ``observe``: called in a model thread with what the steps of a tick were
    expected to take, and what they took, s.
    """

    def __init__(
        self,
        threads: int = 1,
        prepare: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        credit: Callable[[float], Credit] = Credit,
        observe: Callable[[float, float], None] | None = None,
    ) -> None:
        self._prepare = prepare
        self._clock = clock
        self._observe = observe
        self._schedule = Schedule(clock, credit)
        self._aside: AsideThread[Turn] = AsideThread(
            prepare, lambda turn: not turn.stream.closed, self._schedule.answer
        )
        self._workers = [_Worker(self._aside, clock()) for _ in range(threads)]
        self._threads: list[threading.Thread] = []
        self._relays: set[Relay] = set()

    # ------------------------------------------------------------------- called by the event loop

    def open(
        self,
        make: Callable[[], Pipeline],
        deliver: Deliver,
        load: Callable[[], float] = lambda: 0.0,
        cost: Cost | None = None,
    ) -> Stream:
        """Opens a stream. ``make`` builds its pipeline, in a model thread, before its first turn;
        ``deliver`` gets every outcome, in a model thread too. ``load``: what it adds to
        :attr:`load`. ``cost``: what it is expected to take."""
        return self._schedule.open(Parts(make, deliver, load, cost))

    def relay(self, given: Given, deliver: Deliver) -> Relay:
        """Opens a stream that nothing is computed for. ``given``: its voice; ``deliver`` gets every
        outcome at once."""
        relay = Relay(given, deliver, self._relays.discard)
        self._relays.add(relay)
        return relay

    @property
    def backlog(self) -> float:
        """Frames that wait for the model, over all streams."""
        return self._schedule.backlog

    @property
    def streams(self) -> int:
        """Number of open streams."""
        return self._schedule.count + len(self._relays)

    @property
    def load(self) -> float:
        """Sum of what the open streams take."""
        return sum(stream.load for stream in self._schedule.streams)

    def start(self) -> None:
        """Starts the model threads, and one for what is put aside."""
        self._aside.start()
        for i, worker in enumerate(self._workers):
            # Daemons: an impatient second Ctrl-C must not wait for a step of the model.
            run = partial(self._run, worker)
            thread = threading.Thread(target=run, name=f"model-{i}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ends the threads after the steps they are in; waits at most ``timeout`` s for each."""
        self._schedule.stop()
        for thread in self._threads:
            thread.join(timeout)
        self._aside.stop(timeout)

    # ----------------------------------------------------------------------- called by the threads

    def tick(self) -> int:
        """Computes a turn of every stream that is ready and on time and delivers the results; where
        there is none, a step of those who catch up. Returns the number of turns and such steps; 0
        where there is nothing to do, or no time for those who catch up."""
        return self._tick(self._workers[0])

    def _tick(self, worker: _Worker) -> int:
        worker.pause = None
        now = self._clock()
        turns, answered, worker.seen = self._schedule.collect(now, len(self._workers))
        for turn, answer in answered:
            if not turn.stream.closed:
                self._deliver_all(worker.batcher.resume(turn, turn.work, turn.order, answer))
        _promote(worker, now)
        promoted = worker.batcher.order not in (None, LATE)
        if not turns and not answered and not promoted:
            return self._catch_up(worker, now)
        self._compute(worker, turns, plain=not answered and not promoted)
        return len(turns) + len(answered) + promoted

    def _run(self, worker: _Worker) -> None:
        if self._prepare is not None:
            self._prepare()
        schedule = self._schedule
        while not schedule.stopping:
            more = self._tick(worker) and (schedule.has_ready or worker.batcher.order is not None)
            if not more:
                schedule.wait(worker.seen, worker.pause)

    def _compute(self, worker: _Worker, turns: list[Turn], plain: bool) -> None:
        """Computes these turns and those that are on time in the batcher, and delivers each as soon
        as it is there. ``plain``: there are no others."""
        expected = _expected(turns) if plain and self._observe is not None else None
        started, used = self._clock(), time.thread_time() if expected is not None else 0.0
        self._begin(worker, turns)
        while (order := worker.batcher.order) is not None and order < LATE:
            self._step(worker)
            if order > 1.0 and self._clock() - started < OVERTAKING:
                self._begin(worker, self._schedule.collect_shorter(order))
        worker.leftover.take(self._clock() - started)
        if expected is not None and self._observe is not None:
            self._observe(expected, time.thread_time() - used)

    def _catch_up(self, worker: _Worker, now: float) -> int:
        """A step of those who catch up, if there is time for it. Returns what was done."""
        schedule = self._schedule
        if not schedule.has_ready and worker.batcher.order is None:
            return 0
        guarded = schedule.has_live(now)
        wait = worker.leftover.wait(now) if guarded else 0.0
        turns = [] if wait else schedule.collect_late(now, guarded)
        self._begin(worker, turns)
        steps = worker.batcher.order is not None and not wait
        if steps:
            self._step(worker, _rows if guarded else None)
            while not guarded and worker.batcher.order and worker.seen == schedule.changes:
                self._step(worker)
        elif wait:
            worker.pause = min(wait, LOOK)
        if turns or steps:
            worker.leftover.spend(self._clock() - now)
        return len(turns) + steps

    def _begin(self, worker: _Worker, turns: Iterable[Turn]) -> None:
        for turn in turns:
            if not turn.stream.closed:
                self._deliver_all(worker.batcher.add(turn, turn.work, turn.order))

    def _step(self, worker: _Worker, most: Callable[[Turn], int] | None = None) -> None:
        closed = self._schedule.closed
        if worker.closed != closed:
            worker.closed = closed
            worker.batcher.drop(lambda turn: turn.stream.closed)
            if worker.batcher.order is None:
                return
        self._deliver_all(worker.batcher.step(most))

    def _deliver_all(self, results: Iterator[tuple[Turn, Result | Failure]]) -> None:
        for turn, result in results:
            if isinstance(result, Failure):
                outcome = Outcome(error=_error(result.error))
            else:
                outcome = turn.outcome(result, self._clock())
            if self._schedule.done(turn, outcome):
                turn.stream.deliver(outcome)


def _promote(worker: _Worker, now: float) -> None:
    """Makes turns in work on time that real time has brought by now."""
    for turn in worker.batcher.keys(LATE):
        if turn.stream.pay(turn.frames, now):
            worker.batcher.reorder(turn, turn.frames)


def _expected(turns: list[Turn]) -> float | None:
    """Seconds that these turns should take together, None where nobody can tell."""
    total = 0.0
    for turn in turns:
        expected = None if turn.last else turn.stream.expected(turn.frames, len(turns))
        if expected is None:
            return None
        total += expected
    return total


def _rows(turn: Turn) -> int:
    return turn.stream.late_rows()


def _error(error: Exception) -> ProtocolError:
    """Error for a stream that failed."""
    if isinstance(error, ProtocolError):
        return error
    # The stream's state can no longer be trusted, the others' can: end it alone.
    log.error("a stream failed in the model thread", exc_info=error)
    return ProtocolError("internal", "the server failed to process this stream")
