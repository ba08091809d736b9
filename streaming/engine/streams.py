"""One session's way into the engine: a queue of its media, and a pipeline that takes them in
turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from facodec.streams.batching import BUCKETS, LATE, Work
from streaming.engine.fairness import Cost, Credit, late_frames, late_rows
from streaming.engine.pipeline import Pipeline, Result
from streaming.engine.turns import TURN_FRAMES, Job, Queue
from streaming.wire.media import Media, Talker, join
from streaming.wire.protocol import ProtocolError


@dataclass(frozen=True)
class Outcome:
    """Outcome of one turn of a stream.

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


class Flow(Protocol):
    """A session's way to where its media are turned into others, or just passed on."""

    @property
    def backlog(self) -> float:
        """Frames that wait for the model or are in it."""

    def submit(self, item: Media, t: float | None = None) -> None:
        """Queues media. ``t``: its capture stamp."""

    def end(self) -> None:
        """No more media: an ``ended`` outcome follows on what is queued."""

    def close(self) -> None:
        """Forgets the stream at once, and what is queued in it."""


class Door(Protocol):
    """The way from a stream's owner to who schedules it."""

    def submit(self, stream: Stream, item: Media, t: float | None) -> None:
        """Queues media."""

    def end(self, stream: Stream) -> None:
        """Flushes the stream after what is queued."""

    def close(self, stream: Stream) -> None:
        """Forgets the stream."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of a stream. ``pipeline``: builds its pipeline; ``deliver``: gets every outcome;
    ``load``: share of the machine that it takes; ``cost``: what it is expected to take."""

    pipeline: Callable[[], Pipeline]
    deliver: Deliver
    load: Callable[[], float]
    cost: Cost | None


class Stream:
    """One session's way into the engine. Its owner keeps the queue bounded: it asks
    :attr:`backlog` and stops reading its socket, so TCP slows the sender down.

    The owner calls :meth:`submit`, :meth:`end` and :meth:`close`. Everything below these is for
    the schedule, which holds its lock meanwhile; a stream is in one turn at a time.
    """

    def __init__(self, door: Door, make: Parts, credit: Credit) -> None:
        self._door, self._make = door, make
        self._queue = Queue(credit)
        self._pipeline: Pipeline | None = None
        self._ending = self._closed = self._scheduled = False
        self.abandoned = False
        """Closed by its owner: an outcome that is still on its way is not wanted any more."""

    @property
    def backlog(self) -> float:
        """Frames that wait for the model or are in it."""
        return self._queue.frames

    def submit(self, item: Media, t: float | None = None) -> None:
        """Queues media. ``t``: its capture stamp."""
        self._door.submit(self, item, t)

    def end(self) -> None:
        """No more media: compute what is queued, flush, then deliver an ``ended`` outcome."""
        self._door.end(self)

    def close(self) -> None:
        """Forgets the stream at once, what is queued in it and the turn it is in."""
        self.abandoned = True
        self._door.close(self)

    @property
    def closed(self) -> bool:
        """Whether nothing is to be computed any more."""
        return self._closed

    @property
    def load(self) -> float:
        """Share of the machine that it takes."""
        return self._make.load()

    @property
    def is_late(self) -> bool:
        """Whether the next turn is ahead of what real time has brought."""
        return self._queue.is_late

    def is_live(self, now: float) -> bool:
        """Whether media come in real time."""
        return self._queue.is_live(now)

    def coming(self) -> float:
        """Frames that the next turn counts for."""
        return self._queue.coming()

    def pay(self, frames: float, now: float) -> bool:
        """Whether real time has brought so many late frames by now; if so they are paid for."""
        return self._queue.pay(frames, now)

    def put(self, item: Media, t: float | None, now: float) -> bool:
        """Takes media in. Returns whether there is something to compute."""
        return not self._closed and not self._ending and self._queue.put(item, t, now)

    def finish(self) -> bool:
        """Takes no more media. Returns whether there is a flush to compute, which is so once."""
        if self._ending or self._closed:
            return False
        self._ending = True
        return True

    def forget(self) -> None:
        """Drops what is queued; nothing is computed any more."""
        self._closed = True
        self._queue.clear()

    def schedule(self) -> bool:
        """Marks it as waiting for its turn. Returns False where it already waits, is in a turn or
        closed."""
        if self._scheduled or self._closed:
            return False
        self._scheduled = True
        return True

    def take_turn(self, now: float, most: int = TURN_FRAMES) -> Turn:
        """The next turn, of at most so many frames."""
        late = self._queue.is_late
        jobs = self._queue.take(most)
        frames = sum([job.frames for job in jobs])
        last = self._ending and not self._queue
        return Turn(self, jobs, last, now, frames, LATE if late else frames)

    def done(self, turn: Turn, over: bool) -> bool:
        """A turn has been computed; ``over``: it was the last one. Returns whether there is another
        to compute."""
        self._queue.done(turn.jobs)
        self._scheduled = False
        self._closed = self._closed or over
        return not self._closed and (bool(self._queue) or self._ending)

    def deliver(self, outcome: Outcome) -> None:
        """Hands an outcome to the owner."""
        self._make.deliver(outcome)

    def late_frames(self) -> int:
        """Most frames of a turn that catches up while others are on time."""
        return late_frames(self._make.cost, TURN_FRAMES)

    def late_rows(self) -> int:
        """Most streams of a step that catches up while others are on time."""
        return late_rows(self._make.cost, BUCKETS)

    def expected(self, frames: float, together: int) -> float | None:
        """Seconds that a turn of so many frames should take beside others, so many in all; None
        where nobody can tell, as before the first."""
        if self._make.cost is None or self._pipeline is None:
            return None
        return frames * self._make.cost(together)

    def work(self, turn: Turn) -> Work[Result]:
        """Feeds a turn's media to the pipeline, which is built before the first."""
        if self._pipeline is None:
            self._pipeline = self._make.pipeline()
        media = join([job.item for job in turn.jobs])
        return (yield from self._pipeline.work(media, flush=turn.last))


@dataclass(eq=False)
class Turn:
    """The work of one stream in one go. ``started``: when it was taken from the queue; ``order``:
    the lowest go first."""

    stream: Stream
    jobs: list[Job]
    last: bool
    started: float
    frames: float
    order: float
    work: Work[Result] = field(init=False)

    def __post_init__(self) -> None:
        self.work = self.stream.work(self)

    def outcome(self, result: Result, now: float) -> Outcome:
        """Outcome for the stream from the result, which was there at ``now``."""
        others = now - self.started - result.encode - result.decode
        waits = [self.started - job.arrived + max(0.0, others) for job in self.jobs] or [0.0]
        return Outcome(
            media=tuple(result.media),
            t=next((job.t for job in reversed(self.jobs) if job.t is not None), None),
            queue=waits[-1],
            queue_max=max(waits),
            encode=result.encode,
            decode=result.decode,
            ended=self.last,
            talker=result.talker,
        )
