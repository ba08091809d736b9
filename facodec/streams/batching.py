"""The work of many streams in one turn, joined into batches wherever they need the same step.

A stream's work is a generator: it yields a :class:`Request` whenever it needs the model, and gets
the answer back. A :class:`Batcher` runs any number of them side by side and answers the requests
that fit together in one step.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, cast

import numpy as np

from facodec.config import HOP, LOUDEST
from facodec.streams.arena import Slot
from facodec.streams.lanes import Lanes

log = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K")
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)
"""Batch sizes that steps are run at; what does not fill one is made up with idle rows."""


LATE = math.inf
"""Order of work that is late, and waits for all that is not."""


def bucket(count: int) -> int:
    """The size of the batch that so many streams are run in."""
    return next(size for size in BUCKETS if size >= count)


@dataclass(frozen=True)
class Failure:
    """Work that raised an error."""

    error: Exception


INSANE = ValueError(f"expected finite samples of at most {LOUDEST:g} times full scale, 1.0")
BROKEN = ValueError("the decoder gave NaN or infinity, which its state now holds for ever")


class Request(ABC):
    """Request of one stream to the model. ``seconds``: how long the step took that answered it.

    ``rank``: which requests go first, the lowest. Looks and conversions come between the steps
    of a frame; before the next kind of step, all streams should have caught up with each other.
    """

    rank: ClassVar[int]
    seconds: float = 0.0

    @property
    def frames(self) -> int:
        """Length of the step; the shortest steps go first, so that one that catches up does not
        hold up those who are on time."""
        return 0

    @property
    @abstractmethod
    def group(self) -> Hashable:
        """Equal for requests that one step can answer."""

    @classmethod
    @abstractmethod
    def answer(cls, requests: Sequence[Any]) -> Sequence[Any]:
        """The answers to requests of one group, at most the largest bucket, by one step."""

    def settle(self) -> Any:
        """The answer by a step of its own, or a :class:`Failure`."""
        return _answer(type(self), [self])[0]


@dataclass(eq=False)
class Encode(Request):
    """audio (200 n,) -> codes (6, m)."""

    lanes: Lanes
    lane: Slot
    audio: np.ndarray
    rank = 2

    @property
    def frames(self) -> int:
        return len(self.audio) // HOP

    @property
    def group(self) -> Hashable:
        return self.lanes, self.lane.phase, len(self.audio)

    @classmethod
    def answer(cls, requests: Sequence[Encode]) -> Sequence[np.ndarray | Failure]:
        audio = np.stack([request.audio for request in requests])
        chosen = [request.lane for request in requests]
        codes = requests[0].lanes.encode(chosen, audio, bucket(len(requests)))
        sane = np.abs(audio).max(axis=1) <= LOUDEST
        return [row if fine else Failure(INSANE) for row, fine in zip(codes, sane, strict=True)]


@dataclass(eq=False)
class Look(Request):
    """-> the running timbre (256,), or None."""

    lanes: Lanes
    lane: Slot
    rank = 0

    @property
    def group(self) -> Hashable:
        return self.lanes, self.lane.phase

    @classmethod
    def answer(cls, requests: Sequence[Look]) -> Sequence[np.ndarray | None]:
        return requests[0].lanes.timbres([request.lane for request in requests])


@dataclass(eq=False)
class Convert(Request):
    """codes (K, n) spoken with ``source`` (256,) -> codes (6, n) for ``target`` (256,)."""

    lanes: Lanes
    codes: np.ndarray
    source: np.ndarray | None
    target: np.ndarray
    rank = 1

    @property
    def group(self) -> Hashable:
        return self.lanes, self.codes.shape, self.source is None

    @classmethod
    def answer(cls, requests: Sequence[Convert]) -> Sequence[np.ndarray]:
        sources = [request.source for request in requests if request.source is not None]
        converted = requests[0].lanes.convert(
            np.stack([request.codes for request in requests]),
            np.stack(sources) if sources else None,
            np.stack([request.target for request in requests]),
        )
        return list(converted)


@dataclass(eq=False)
class Decode(Request):
    """codes (6, n), absent ones -1, timbre (256,) -> samples (200 m,)."""

    lanes: Lanes
    lane: Slot
    codes: np.ndarray
    timbre: np.ndarray
    rank = 3

    @property
    def frames(self) -> int:
        return int(self.codes.shape[1])

    @property
    def group(self) -> Hashable:
        return self.lanes, self.lane.phase, self.codes.shape

    @classmethod
    def answer(cls, requests: Sequence[Decode]) -> Sequence[np.ndarray | Failure]:
        audio = requests[0].lanes.decode(
            [request.lane for request in requests],
            np.stack([request.codes for request in requests]),
            np.stack([request.timbre for request in requests]),
            bucket(len(requests)),
        )
        sane = np.isfinite(audio.sum(axis=1))
        return [row if fine else Failure(BROKEN) for row, fine in zip(audio, sane, strict=True)]


@dataclass(eq=False)
class Aside(Request):
    """-> what ``call`` gives: computing that is long and has no part in any batch."""

    call: Callable[[], Any]
    rank = 4

    @property
    def group(self) -> Hashable:
        return id(self)

    @classmethod
    def answer(cls, requests: Sequence[Aside]) -> Sequence[Any]:
        return [request.call() for request in requests]


Work: TypeAlias = Generator[Request, Any, T]


class Stopwatch:
    """Adds up what some work takes: its own time, and that of the steps it waits for."""

    def __init__(self) -> None:
        self.total = 0.0

    def time(self, work: Work[T]) -> Work[T]:
        """Times the work."""
        resume: Callable[[], Request] = partial(next, work)
        while True:
            started = time.perf_counter()
            try:
                request = resume()
            except StopIteration as end:
                return cast(T, end.value)
            finally:
                self.total += time.perf_counter() - started
            try:
                answer = yield request
            except Exception as error:
                resume = partial(work.throw, error)
            else:
                resume = partial(work.send, answer)
            self.total += request.seconds


class Batcher(Generic[K, T]):
    """Work of many streams side by side, one batch of requests at a time.

    ``aside``: takes what is too long for a batch and has :meth:`resume` called with the answer;
    without it that is answered in its turn.
    """

    def __init__(self, aside: Callable[[K, Aside], None] | None = None) -> None:
        self._aside = aside
        self._waiting: list[_Waiting[K, T]] = []

    def add(self, key: K, work: Work[T], order: float = 0.0) -> Iterator[tuple[K, T | Failure]]:
        """Begins work. The lowest ``order`` has its requests answered first."""
        return self._go_on(key, work, order, partial(next, work))

    def resume(
        self, key: K, work: Work[T], order: float, answer: Any
    ) -> Iterator[tuple[K, T | Failure]]:
        """Goes on with work that waited for an answer."""
        if isinstance(answer, Failure):
            return self._go_on(key, work, order, partial(work.throw, answer.error))
        return self._go_on(key, work, order, partial(work.send, answer))

    @property
    def order(self) -> float | None:
        """Order of the work whose requests come next; None where none waits."""
        return min((one.order for one in self._waiting), default=None)

    def keys(self, order: float) -> list[K]:
        """Streams whose work of this order waits."""
        return [one.key for one in self._waiting if one.order == order]

    def reorder(self, key: K, order: float) -> None:
        """Gives work that waits another order."""
        for one in self._waiting:
            if one.key is key:
                one.order = order

    def drop(self, unwanted: Callable[[K], bool]) -> None:
        """Forgets work that nobody wants any more."""
        self._waiting = [one for one in self._waiting if not unwanted(one.key)]

    def step(self, most: Callable[[K], int] | None = None) -> Iterator[tuple[K, T | Failure]]:
        """Answers one batch and gives each result as soon as it is there. What is late has no part
        in the batches of what is not. ``most``: requests in a batch that begins with this work."""
        first = min(self._waiting, key=lambda w: (w.order, w.request.frames, w.request.rank))
        kind, group, late = type(first.request), first.request.group, first.order == LATE
        largest = BUCKETS[-1] if most is None else min(BUCKETS[-1], most(first.key))
        batch: list[_Waiting[K, T]] = []
        rest: list[_Waiting[K, T]] = []
        for one in self._waiting:
            alike = type(one.request) is kind and (one.order == LATE) == late
            fits = alike and len(batch) < largest and one.request.group == group
            (batch if fits else rest).append(one)
        self._waiting = rest
        answers = _answer(kind, [one.request for one in batch])
        for one, answer in zip(batch, answers, strict=True):
            yield from self.resume(one.key, one.work, one.order, answer)

    def _go_on(
        self, key: K, work: Work[T], order: float, resume: Callable[[], Request]
    ) -> Iterator[tuple[K, T | Failure]]:
        """Lets work run up to its next request, or its end."""
        try:
            request = resume()
        except StopIteration as end:
            yield key, end.value
        except Exception as error:
            yield key, Failure(error)
        else:
            if self._aside is not None and isinstance(request, Aside):
                self._aside(key, request)
            else:
                self._waiting.append(_Waiting(key, work, order, request))


@dataclass(eq=False)
class _Waiting(Generic[K, T]):
    """Work that waits for the answer to a request."""

    key: K
    work: Work[T]
    order: float
    request: Request


def run_alone(work: Work[T]) -> T:
    """Runs one stream's work, every request a step of its own. Raises what the work raises."""
    resume: Callable[[], Request] = partial(next, work)
    while True:
        try:
            request = resume()
        except StopIteration as end:
            return cast(T, end.value)
        answer = request.settle()
        if isinstance(answer, Failure):
            resume = partial(work.throw, answer.error)
        else:
            resume = partial(work.send, answer)


def _answer(kind: type[Request], requests: Sequence[Request]) -> Sequence[Any]:
    """The answers, or :class:`Failure` for those who have none. What fails together is tried one
    by one: one stream's trouble is not the others'."""
    started = time.perf_counter()
    try:
        answers = kind.answer(requests)
    except Exception as error:
        if len(requests) == 1:
            answers = [Failure(error)]
        else:
            log.warning("a step for %d streams failed: one by one", len(requests), exc_info=error)
            answers = [_answer(kind, [request])[0] for request in requests]
    seconds = time.perf_counter() - started
    for request in requests:
        request.seconds = seconds
    return answers
