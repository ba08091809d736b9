"""Order of streams' turns: who is on time goes first, who catches up has what is left
(see :mod:`streaming.engine.fairness`)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from facodec.streams.batching import LATE
from streaming.engine.fairness import Credit
from streaming.engine.streams import Outcome, Parts, Stream, Turn
from streaming.engine.turns import TURN_FRAMES
from streaming.wire.media import Media

LATE_TURNS = 4
"""Turns of streams that catch up that are begun at once."""

Answered = list[tuple[Turn, Any]]


class Schedule:
    """Streams that have work, in the order in which they got it. May be used from any thread.

    ``clock``: monotonic seconds. ``credit``: that a stream opened now has.
    """

    def __init__(self, clock: Callable[[], float], credit: Callable[[float], Credit]) -> None:
        self._clock, self._credit = clock, credit
        self._changed = threading.Condition()
        # Every field below is guarded by the condition's lock. The ready queue holds each stream
        # at most once, and a stream is in one turn at a time: all of them are bounded by the number
        # of streams, and a stream's own queue by its owner's limit.
        self._ready: deque[Stream] = deque()
        self._answered: Answered = []
        self._streams: set[Stream] = set()
        self._changes = 0
        self._closed = 0
        self._stopping = False

    # ------------------------------------------------------------------- called by the event loop

    def open(self, make: Parts) -> Stream:
        """Makes a stream."""
        stream = Stream(self, make, self._credit(self._clock()))
        with self._changed:
            self._streams.add(stream)
        return stream

    def submit(self, stream: Stream, item: Media, t: float | None) -> None:
        """Queues media in a stream."""
        now = self._clock()
        with self._changed:
            if stream.put(item, t, now):
                self._schedule(stream)

    def end(self, stream: Stream) -> None:
        """Flushes a stream after what is queued in it."""
        with self._changed:
            if stream.finish():
                self._schedule(stream)

    def close(self, stream: Stream) -> None:
        """Forgets a stream."""
        with self._changed:
            stream.forget()
            self._streams.discard(stream)
            self._closed += 1

    def stop(self) -> None:
        """Lets all who wait go on, for the last time."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    @property
    def backlog(self) -> float:
        """Frames that wait for the model, over all streams."""
        with self._changed:
            return sum(stream.backlog for stream in self._streams)

    @property
    def streams(self) -> list[Stream]:
        """Streams that are open."""
        with self._changed:
            return list(self._streams)

    @property
    def count(self) -> int:
        """Number of streams that are open."""
        return len(self._streams)

    # ----------------------------------------------------------------------- called by the threads

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def changes(self) -> int:
        """Grows whenever there is something new to compute."""
        return self._changes

    @property
    def closed(self) -> int:
        """Streams that were closed so far."""
        return self._closed

    @property
    def has_ready(self) -> bool:
        """Whether a stream waits for its turn."""
        return bool(self._ready)

    def wait(self, seen: int, seconds: float | None) -> None:
        """Waits until there are other changes than those that were seen, at most so long."""
        with self._changed:
            if seen == self._changes and not self._stopping:
                self._changed.wait(seconds)

    def answer(self, turn: Turn, answer: Any) -> None:
        """Takes the answer to what was long, with which a turn can go on."""
        with self._changed:
            self._answered.append((turn, answer))
            self._change()

    def collect(self, now: float, threads: int) -> tuple[list[Turn], Answered, int]:
        """Turns for one thread's share of the ready streams that are on time, longest-waiting
        first; work that can go on; and the changes that these are."""
        with self._changed:
            share = -(-len(self._ready) // threads)
            answered, self._answered = self._answered, []
            return self._take_on_time(now, share), answered, self._changes

    def collect_shorter(self, order: float) -> list[Turn]:
        """Turns of those who have become ready and need not wait for the longer ones in work."""
        if not self._ready:
            return []
        with self._changed:
            return self._take_on_time(self._clock(), len(self._ready), below=order)

    def collect_late(self, now: float, guarded: bool) -> list[Turn]:
        """Turns of some who catch up; ``guarded``: short ones."""
        turns: list[Turn] = []
        with self._changed:
            for _ in range(len(self._ready)):
                stream = self._ready.popleft()
                if stream.closed:
                    continue
                if len(turns) < LATE_TURNS:
                    most = stream.late_frames() if guarded else TURN_FRAMES
                    turns.append(stream.take_turn(now, most))
                    turns[-1].order = LATE
                else:
                    self._ready.append(stream)
        return turns

    def has_live(self, now: float) -> bool:
        """Whether media come in real time in some stream."""
        with self._changed:
            return any(stream.is_live(now) for stream in self._streams)

    def done(self, turn: Turn, outcome: Outcome) -> bool:
        """Ends a turn. Returns whether its outcome is still wanted."""
        stream = turn.stream
        with self._changed:
            if stream.closed:
                return False
            over = outcome.ended or outcome.error is not None
            if stream.done(turn, over):
                self._schedule(stream)
            elif over:
                self._streams.discard(stream)
        return True

    # ---------------------------------------------------------------------------- the lock is held

    def _take_on_time(self, now: float, most: int, below: float = LATE) -> list[Turn]:
        """At most so many turns of ready streams, of less than ``below`` frames.

        Who is late has its turn here too once real time has brought it: a live stream that fell
        behind looks like a fast one, and nobody's real time may wait for the haste, or the
        beginnings, of others.
        """
        turns: list[Turn] = []
        for _ in range(len(self._ready)):
            stream = self._ready.popleft()
            if stream.closed:
                continue
            fits = len(turns) < most and (below == LATE or stream.coming() < below)
            if fits and (not stream.is_late or stream.pay(stream.coming(), now)):
                turns.append(stream.take_turn(now))
                turns[-1].order = turns[-1].frames
            else:
                self._ready.append(stream)
        return turns

    def _schedule(self, stream: Stream) -> None:
        """Puts a stream with work at the end of the ready queue."""
        if stream.schedule():
            self._ready.append(stream)
            self._change()

    def _change(self) -> None:
        """Tells a waiting thread that there is work."""
        self._changes += 1
        self._changed.notify()
