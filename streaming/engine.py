"""Many streams, one model: bounded queues in front of it, fair turns, its own thread(s).

The event loop only puts media into a :class:`Stream` and gets an :class:`Outcome` back through a
callback; all computing happens in :meth:`Engine.tick`, which the engine's threads call (and a test
can call without any). A tick collects a turn of every ready stream, computes them in batches (see
:mod:`streaming.batching`) and delivers each result as soon as it is there. What arrives meanwhile
is the next tick's, so batches grow with the load and a lone stream waits for nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streaming.batching import Failure, Work, run_all
from streaming.media import Media, join, load, split
from streaming.pipeline import Pipeline, Result
from streaming.protocol import ProtocolError

log = logging.getLogger(__name__)

TURN_FRAMES = 8
"""Most frames one stream computes before the next stream has its turn (100 ms of audio): a fast
sender cannot hold up a live one for longer than this takes."""


@dataclass(frozen=True)
class Outcome:
    """What one turn of a stream gave.

    ``t``: capture stamp of the newest input that went in. ``queue``: how long that input waited
    for the model, s, before its turn and for others in it; ``queue_max``: the longest that any
    input of this turn did. ``encode``, ``decode``: the steps it had a part in, s. ``ended``: the
    stream has been flushed, nothing follows.
    ``error``: the stream has failed and is closed.
    """

    media: tuple[Media, ...] = ()
    t: float | None = None
    queue: float = 0.0
    queue_max: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    ended: bool = False
    error: ProtocolError | None = None


@dataclass
class _Job:
    item: Media
    arrived: float
    t: float | None


Deliver = Callable[[Outcome], None]


@dataclass(eq=False)
class Stream:
    """One session's way into the engine. Its owner keeps the queue bounded: it asks
    :attr:`backlog` and stops reading its socket, so TCP slows the sender down."""

    engine: Engine
    make: Callable[[], Pipeline]
    deliver: Deliver
    load: float = 0.0
    """Share of the machine that it takes."""
    abandoned: bool = False
    """Closed by its owner: an outcome that is still on its way is not wanted any more."""
    _jobs: deque[_Job] = field(default_factory=deque)
    _queued: float = 0.0
    _ending: bool = False
    _closed: bool = False
    _scheduled: bool = False
    _pipeline: Pipeline | None = None

    @property
    def backlog(self) -> float:
        """Frames that wait for the model or are in it."""
        return self._queued

    def submit(self, item: Media, t: float | None = None) -> None:
        """Queues media. ``t``: its capture stamp."""
        self.engine.queue(self, item, t)

    def end(self) -> None:
        """No more media: compute what is queued, flush, then deliver an ``ended`` outcome."""
        self.engine.end(self)

    def close(self) -> None:
        """Forgets the stream at once and what is queued in it."""
        self.abandoned = True
        self.engine.close(self)


@dataclass
class _Turn:
    """The work of one stream in one tick."""

    stream: Stream
    jobs: list[_Job]
    last: bool

    @property
    def frames(self) -> float:
        return sum(load(job.item) for job in self.jobs)


class Engine:
    """Runs the pipelines of all streams.

    ``threads``: model threads; a stream is in at most one at a time and keeps its order.
    ``prepare``: called first in each thread. ``clock``: monotonic seconds.
    """

    def __init__(
        self,
        threads: int = 1,
        prepare: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._prepare = prepare
        self._clock = clock
        self._count = threads
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        # Every field below is guarded by the condition's lock. The ready queue holds each stream
        # at most once, so it is bounded by the number of streams, and a stream's own queue by its
        # owner's limit.
        self._ready: deque[Stream] = deque()
        self._streams: set[Stream] = set()
        self._stopping = False

    # ------------------------------------------------------------------- called by the event loop

    def open(self, make: Callable[[], Pipeline], deliver: Deliver, load: float = 0.0) -> Stream:
        """A new stream. ``make`` builds its pipeline, in a model thread, before its first turn;
        ``deliver`` gets every outcome, in a model thread too. ``load``: what it adds to
        :attr:`load`."""
        stream = Stream(self, make, deliver, load)
        with self._changed:
            self._streams.add(stream)
        return stream

    def queue(self, stream: Stream, item: Media, t: float | None) -> None:
        now = self._clock()
        with self._changed:
            if stream._closed or stream._ending:
                return
            stream._jobs.extend(_Job(part, now, t) for part in split(item, TURN_FRAMES))
            stream._queued += load(item)
            self._schedule(stream)

    def end(self, stream: Stream) -> None:
        with self._changed:
            if not stream._ending and not stream._closed:
                stream._ending = True
                self._schedule(stream)

    def close(self, stream: Stream) -> None:
        with self._changed:
            stream._closed = True
            stream._jobs.clear()
            stream._queued = 0.0
            self._streams.discard(stream)

    @property
    def backlog(self) -> float:
        """Frames that wait for the model, over all streams."""
        with self._changed:
            return sum(stream._queued for stream in self._streams)

    @property
    def streams(self) -> int:
        return len(self._streams)

    @property
    def load(self) -> float:
        """Sum of what the open streams take."""
        with self._changed:
            return sum(stream.load for stream in self._streams)

    def start(self) -> None:
        """Starts the model threads."""
        for index in range(self._count):
            # Daemons: an impatient second Ctrl-C must not wait for a step of the model.
            thread = threading.Thread(target=self._run, name=f"model-{index}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ends the threads after the turns they are in; waits at most ``timeout`` s for each."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout)

    # ----------------------------------------------------------------------- called by the threads

    def tick(self) -> int:
        """Collects ready work, computes it, delivers it. Returns the number of turns taken."""
        turns = self._collect()
        for turn, outcome in self._compute(turns):
            self._deliver(turn, outcome)
        return len(turns)

    def _run(self) -> None:
        if self._prepare is not None:
            self._prepare()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._stopping)
                if self._stopping:
                    return
            self.tick()

    def _schedule(self, stream: Stream) -> None:
        """Puts a stream with work at the end of the ready queue; the lock is held."""
        if not stream._scheduled and not stream._closed:
            stream._scheduled = True
            self._ready.append(stream)
            self._changed.notify()

    def _collect(self) -> list[_Turn]:
        """Turns for this thread's share of the ready streams, longest-waiting first."""
        with self._changed:
            share = -(-len(self._ready) // self._count)
            streams = [self._ready.popleft() for _ in range(share)]
            return [_take_turn(stream) for stream in streams if not stream._closed]

    def _compute(self, turns: list[_Turn]) -> Iterator[tuple[_Turn, Outcome]]:
        """The outcome of each turn as soon as it is there."""
        started = self._clock()
        works = [(turn, _advance(turn)) for turn in turns if not turn.stream._closed]
        for turn, result in run_all(works):
            if isinstance(result, Failure):
                yield turn, Outcome(error=_error(result.error))
            else:
                yield turn, self._outcome(turn, result, started)

    def _outcome(self, turn: _Turn, result: Result, started: float) -> Outcome:
        others = self._clock() - started - result.encode - result.decode
        waits = [started - job.arrived + max(0.0, others) for job in turn.jobs] or [0.0]
        return Outcome(
            media=tuple(result.media),
            t=next((job.t for job in reversed(turn.jobs) if job.t is not None), None),
            queue=waits[-1],
            queue_max=max(waits),
            encode=result.encode,
            decode=result.decode,
            ended=turn.last,
        )

    def _deliver(self, turn: _Turn, outcome: Outcome) -> None:
        stream = turn.stream
        with self._changed:
            if stream._closed:
                return
            stream._queued = max(0.0, stream._queued - turn.frames)
            stream._scheduled = False
            if outcome.error is not None or outcome.ended:
                stream._closed = True
                self._streams.discard(stream)
            elif stream._jobs or stream._ending:
                self._schedule(stream)
        stream.deliver(outcome)


def _take_turn(stream: Stream) -> _Turn:
    """The stream's oldest jobs, up to a turn's worth; the engine's lock is held."""
    jobs: list[_Job] = []
    frames = 0.0
    while stream._jobs and frames < TURN_FRAMES:
        jobs.append(stream._jobs.popleft())
        frames += load(jobs[-1].item)
    return _Turn(stream, jobs, last=stream._ending and not stream._jobs)


def _advance(turn: _Turn) -> Work[Result]:
    """Feeds the turn's media to the stream's pipeline."""
    stream = turn.stream
    if stream._pipeline is None:
        stream._pipeline = stream.make()
    media = join([job.item for job in turn.jobs])
    return (yield from stream._pipeline.work(media, flush=turn.last))


def _error(error: Exception) -> ProtocolError:
    """What a stream that failed is told."""
    if isinstance(error, ProtocolError):
        return error
    # The stream's state can no longer be trusted, the others' can: end it alone.
    log.error("a stream failed in the model thread", exc_info=error)
    return ProtocolError("internal", "the server failed to process this stream")
