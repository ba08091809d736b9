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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from facodec.streams.batching import BUCKETS, LATE, Batcher, Failure, Work
from streaming.engine.aside import AsideThread
from streaming.engine.fairness import (
    LOOK,
    OVERTAKING,
    Cost,
    Credit,
    Leftover,
    late_frames,
    late_rows,
)
from streaming.engine.pipeline import Pipeline, Result
from streaming.engine.turns import TURN_FRAMES, Job, Queue
from streaming.wire.media import Media, Talker, join
from streaming.wire.protocol import ProtocolError

log = logging.getLogger(__name__)

LATE_TURNS = 4
"""Turns of streams that catch up that are begun at once."""


@dataclass(frozen=True)
class Outcome:
    """What one turn of a stream gave.

    ``t``: capture stamp of the newest input that went in. ``queue``: how long that input waited
    for the model, s, before its turn and for others in it; ``queue_max``: the longest that any
    input of this turn did. ``encode``, ``decode``: the steps it had a part in, s. ``ended``: the
    stream has been flushed, nothing follows. ``talker``: who was heard in it, told at its end.
    ``error``: the stream has failed and is closed.
    """

    media: tuple[Media, ...] = ()
    t: float | None = None
    queue: float = 0.0
    queue_max: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    ended: bool = False
    talker: Talker | None = None
    error: ProtocolError | None = None


Deliver = Callable[[Outcome], None]


@dataclass(eq=False)
class Stream:
    """One session's way into the engine. Its owner keeps the queue bounded: it asks
    :attr:`backlog` and stops reading its socket, so TCP slows the sender down."""

    engine: Engine
    make: Callable[[], Pipeline]
    deliver: Deliver
    queue: Queue
    load: Callable[[], float]
    """Share of the machine that it takes."""
    cost: Cost | None = None
    abandoned: bool = False
    """Closed by its owner: an outcome that is still on its way is not wanted any more."""
    _ending: bool = False
    _closed: bool = False
    _scheduled: bool = False
    _pipeline: Pipeline | None = None

    @property
    def backlog(self) -> float:
        """Frames that wait for the model or are in it."""
        return self.queue.frames

    def submit(self, item: Media, t: float | None = None) -> None:
        """Queues media. ``t``: its capture stamp."""
        self.engine.queue(self, item, t)

    def end(self) -> None:
        """No more media: compute what is queued, flush, then deliver an ``ended`` outcome."""
        self.engine.end(self)

    def close(self) -> None:
        """Forgets the stream at once, what is queued in it and the turn it is in."""
        self.abandoned = True
        self.engine.close(self)


@dataclass(eq=False)
class _Turn:
    """The work of one stream in one go."""

    stream: Stream
    jobs: list[Job]
    last: bool
    started: float
    frames: float
    order: float
    work: Work[Result] = field(init=False)

    def __post_init__(self) -> None:
        self.work = _advance(self)


class _Worker:
    """What one model thread is at. ``seen``: changes of the queues and ``closed``: streams that
    it knows of; ``pause``: seconds after which there is time for who catches up."""

    def __init__(self, aside: AsideThread[_Turn], now: float) -> None:
        self.batcher: Batcher[_Turn, Result] = Batcher(aside.put)
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
        self._credit = credit
        self._observe = observe
        self._aside: AsideThread[_Turn] = AsideThread(
            prepare, lambda turn: not turn.stream._closed, self._answer
        )
        self._workers = [_Worker(self._aside, clock()) for _ in range(threads)]
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        # Every field below is guarded by the condition's lock. The ready queue holds each stream
        # at most once, and a stream is in one turn at a time: all of them are bounded by the number
        # of streams, and a stream's own queue by its owner's limit.
        self._ready: deque[Stream] = deque()
        self._answered: list[tuple[_Turn, Any]] = []
        self._streams: set[Stream] = set()
        self._changes = 0
        self._closed = 0
        self._stopping = False

    # ------------------------------------------------------------------- called by the event loop

    def open(
        self,
        make: Callable[[], Pipeline],
        deliver: Deliver,
        load: Callable[[], float] = lambda: 0.0,
        cost: Cost | None = None,
    ) -> Stream:
        """A new stream. ``make`` builds its pipeline, in a model thread, before its first turn;
        ``deliver`` gets every outcome, in a model thread too. ``load``: what it adds to
        :attr:`load`. ``cost``: what it is expected to take."""
        stream = Stream(self, make, deliver, Queue(self._credit(self._clock())), load, cost)
        with self._changed:
            self._streams.add(stream)
        return stream

    def queue(self, stream: Stream, item: Media, t: float | None) -> None:
        now = self._clock()
        with self._changed:
            if not stream._closed and not stream._ending and stream.queue.put(item, t, now):
                self._schedule(stream)

    def end(self, stream: Stream) -> None:
        with self._changed:
            if not stream._ending and not stream._closed:
                stream._ending = True
                self._schedule(stream)

    def close(self, stream: Stream) -> None:
        with self._changed:
            stream._closed = True
            stream.queue.clear()
            self._streams.discard(stream)
            self._closed += 1

    @property
    def backlog(self) -> float:
        """Frames that wait for the model, over all streams."""
        with self._changed:
            return sum(stream.queue.frames for stream in self._streams)

    @property
    def streams(self) -> int:
        return len(self._streams)

    @property
    def load(self) -> float:
        """Sum of what the open streams take."""
        with self._changed:
            streams = list(self._streams)
        return sum(stream.load() for stream in streams)

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
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
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
        turns, answered = self._collect(worker, now)
        for turn, answer in answered:
            if not turn.stream._closed:
                self._deliver_all(worker.batcher.resume(turn, turn.work, turn.order, answer))
        self._promote(worker, now)
        promoted = worker.batcher.order not in (None, LATE)
        if not turns and not answered and not promoted:
            return self._catch_up(worker, now)
        self._compute(worker, turns, plain=not answered and not promoted)
        return len(turns) + len(answered) + promoted

    def _run(self, worker: _Worker) -> None:
        if self._prepare is not None:
            self._prepare()
        while not self._stopping:
            if self._tick(worker) and (self._ready or worker.batcher.order is not None):
                continue
            with self._changed:
                if worker.seen == self._changes and not self._stopping:
                    self._changed.wait(worker.pause)

    def _answer(self, turn: _Turn, answer: Any) -> None:
        """What was long is done."""
        with self._changed:
            self._answered.append((turn, answer))
            self._change()

    def _schedule(self, stream: Stream) -> None:
        """Puts a stream with work at the end of the ready queue; the lock is held."""
        if not stream._scheduled and not stream._closed:
            stream._scheduled = True
            self._ready.append(stream)
            self._change()

    def _change(self) -> None:
        """Tells a waiting thread that there is work; the lock is held."""
        self._changes += 1
        self._changed.notify()

    # ---------------------------------------------------------------------------- whose turn it is

    def _collect(self, worker: _Worker, now: float) -> tuple[list[_Turn], list[tuple[_Turn, Any]]]:
        """Turns for this thread's share of the ready streams that are on time, longest-waiting
        first, and work that can go on."""
        with self._changed:
            worker.seen = self._changes
            share = -(-len(self._ready) // len(self._workers))
            answered, self._answered = self._answered, []
            return self._take_on_time(now, share), answered

    def _collect_shorter(self, order: float) -> list[_Turn]:
        """Turns of those who have become ready and need not wait for the longer ones in work."""
        if not self._ready:
            return []
        with self._changed:
            return self._take_on_time(self._clock(), len(self._ready), below=order)

    def _collect_late(self, now: float, guarded: bool) -> list[_Turn]:
        """Turns of some who catch up; ``guarded``: short ones."""
        turns: list[_Turn] = []
        with self._changed:
            for _ in range(len(self._ready)):
                stream = self._ready.popleft()
                if stream._closed:
                    continue
                if len(turns) < LATE_TURNS:
                    most = late_frames(stream.cost, TURN_FRAMES) if guarded else TURN_FRAMES
                    turns.append(_take_turn(stream, now, most))
                    turns[-1].order = LATE
                else:
                    self._ready.append(stream)
        return turns

    def _take_on_time(self, now: float, most: int, below: float = LATE) -> list[_Turn]:
        """At most so many turns of ready streams, of less than ``below`` frames; the lock is held.

        Who is late has its turn here too once real time has brought it: a live stream that fell
        behind looks like a fast one, and nobody's real time may wait for the haste, or the
        beginnings, of others.
        """
        turns: list[_Turn] = []
        for _ in range(len(self._ready)):
            stream = self._ready.popleft()
            if stream._closed:
                continue
            queue = stream.queue
            fits = len(turns) < most and (below == LATE or queue.coming() < below)
            if fits and (not queue.is_late or queue.pay(queue.coming(), now)):
                turns.append(_take_turn(stream, now))
                turns[-1].order = turns[-1].frames
            else:
                self._ready.append(stream)
        return turns

    def _promote(self, worker: _Worker, now: float) -> None:
        """Makes turns in work on time that real time has brought by now."""
        for turn in worker.batcher.keys(LATE):
            if turn.stream.queue.pay(turn.frames, now):
                worker.batcher.reorder(turn, turn.frames)

    def _has_live(self, now: float) -> bool:
        with self._changed:
            return any(stream.queue.is_live(now) for stream in self._streams)

    # ------------------------------------------------------------------------------------ computing

    def _compute(self, worker: _Worker, turns: list[_Turn], plain: bool) -> None:
        """Computes these turns and those that are on time in the batcher, and delivers each as soon
        as it is there. ``plain``: there are no others."""
        expected = _expected(turns) if plain and self._observe is not None else None
        started, used = self._clock(), time.thread_time() if expected is not None else 0.0
        self._begin(worker, turns)
        while (order := worker.batcher.order) is not None and order < LATE:
            self._step(worker)
            if order > 1.0 and self._clock() - started < OVERTAKING:
                self._begin(worker, self._collect_shorter(order))
        worker.leftover.take(self._clock() - started)
        if expected is not None and self._observe is not None:
            self._observe(expected, time.thread_time() - used)

    def _catch_up(self, worker: _Worker, now: float) -> int:
        """A step of those who catch up, if there is time for it. Returns what was done."""
        if not self._ready and worker.batcher.order is None:
            return 0
        guarded = self._has_live(now)
        wait = worker.leftover.wait(now) if guarded else 0.0
        turns = [] if wait else self._collect_late(now, guarded)
        self._begin(worker, turns)
        steps = worker.batcher.order is not None and not wait
        if steps:
            self._step(worker, _rows if guarded else None)
            while not guarded and worker.batcher.order and worker.seen == self._changes:
                self._step(worker)
        elif wait:
            worker.pause = min(wait, LOOK)
        if turns or steps:
            worker.leftover.spend(self._clock() - now)
        return len(turns) + steps

    def _begin(self, worker: _Worker, turns: Iterable[_Turn]) -> None:
        for turn in turns:
            if not turn.stream._closed:
                self._deliver_all(worker.batcher.add(turn, turn.work, turn.order))

    def _step(self, worker: _Worker, most: Callable[[_Turn], int] | None = None) -> None:
        if worker.closed != self._closed:
            worker.closed = self._closed
            worker.batcher.drop(lambda turn: turn.stream._closed)
            if worker.batcher.order is None:
                return
        self._deliver_all(worker.batcher.step(most))

    def _deliver_all(self, results: Iterator[tuple[_Turn, Result | Failure]]) -> None:
        for turn, result in results:
            if isinstance(result, Failure):
                self._deliver(turn, Outcome(error=_error(result.error)))
            else:
                self._deliver(turn, self._outcome(turn, result))

    def _outcome(self, turn: _Turn, result: Result) -> Outcome:
        others = self._clock() - turn.started - result.encode - result.decode
        waits = [turn.started - job.arrived + max(0.0, others) for job in turn.jobs] or [0.0]
        return Outcome(
            media=tuple(result.media),
            t=next((job.t for job in reversed(turn.jobs) if job.t is not None), None),
            queue=waits[-1],
            queue_max=max(waits),
            encode=result.encode,
            decode=result.decode,
            ended=turn.last,
            talker=result.talker,
        )

    def _deliver(self, turn: _Turn, outcome: Outcome) -> None:
        stream = turn.stream
        with self._changed:
            if stream._closed:
                return
            stream.queue.done(turn.jobs)
            stream._scheduled = False
            if outcome.error is not None or outcome.ended:
                stream._closed = True
                self._streams.discard(stream)
            elif stream.queue or stream._ending:
                self._schedule(stream)
        stream.deliver(outcome)


def _take_turn(stream: Stream, now: float, most: int = TURN_FRAMES) -> _Turn:
    """The stream's next turn; the engine's lock is held."""
    late = stream.queue.is_late
    jobs = stream.queue.take(most)
    frames = sum([job.frames for job in jobs])
    last = stream._ending and not stream.queue
    return _Turn(stream, jobs, last, now, frames, LATE if late else frames)


def _advance(turn: _Turn) -> Work[Result]:
    """Feeds the turn's media to the stream's pipeline."""
    stream = turn.stream
    if stream._pipeline is None:
        stream._pipeline = stream.make()
    media = join([job.item for job in turn.jobs])
    return (yield from stream._pipeline.work(media, flush=turn.last))


def _expected(turns: list[_Turn]) -> float | None:
    """Seconds that these turns should take together, None where nobody can tell."""
    total = 0.0
    for turn in turns:
        stream = turn.stream
        if stream.cost is None or stream._pipeline is None or turn.last:
            return None
        total += turn.frames * stream.cost(len(turns))
    return total


def _rows(turn: _Turn) -> int:
    return late_rows(turn.stream.cost, BUCKETS)


def _error(error: Exception) -> ProtocolError:
    """What a stream that failed is told."""
    if isinstance(error, ProtocolError):
        return error
    # The stream's state can no longer be trusted, the others' can: end it alone.
    log.error("a stream failed in the model thread", exc_info=error)
    return ProtocolError("internal", "the server failed to process this stream")
