"""The work of many streams in one turn, joined into batches wherever they need the same step.

A stream's work is a generator: it yields a :class:`Request` whenever it needs the model, and gets
the answer back. :func:`run_all` runs any number of them side by side and answers the requests
that fit together in one step.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias, TypeVar, cast

import numpy as np

from facodec.arena import Slot
from facodec.codec import Codec
from facodec.config import HOP, LOUDEST

log = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K")
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)
"""Batch sizes that steps are run at; what does not fill one is made up with idle rows."""


def bucket(count: int) -> int:
    """The size of the batch that so many streams are run in."""
    return next(size for size in BUCKETS if size >= count)


@dataclass(frozen=True)
class Failure:
    """Work that raised an error."""

    error: Exception


INSANE = ValueError(f"samples must be finite and at most {LOUDEST:g}, where 1.0 is full scale")
BROKEN = ValueError("the decoder gave NaN or infinity, which its state now holds for ever")


class Request(ABC):
    """What one stream wants of the model. ``seconds``: how long the step took that answered it.

    ``rank``: which requests go first, the lowest. Looks and conversions come between the steps
    of a frame; before the next kind of step, all streams should have caught up with each other.
    """

    rank: ClassVar[int]
    codec: Codec
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


@dataclass(eq=False)
class Encode(Request):
    """audio (200 n,) -> codes (6, m)."""

    codec: Codec
    lane: Slot
    audio: np.ndarray
    rank = 2

    @property
    def frames(self) -> int:
        return len(self.audio) // HOP

    @property
    def group(self) -> Hashable:
        return self.codec, self.lane.phase, len(self.audio)

    @classmethod
    def answer(cls, requests: Sequence[Encode]) -> Sequence[np.ndarray | Failure]:
        audio = np.stack([request.audio for request in requests])
        lanes = [request.lane for request in requests]
        codes = requests[0].codec.lanes.encode(lanes, audio, bucket(len(requests)))
        sane = np.abs(audio).max(axis=1) <= LOUDEST
        return [row if fine else Failure(INSANE) for row, fine in zip(codes, sane, strict=True)]


@dataclass(eq=False)
class Look(Request):
    """-> the running timbre (256,), or None."""

    codec: Codec
    lane: Slot
    rank = 0

    @property
    def group(self) -> Hashable:
        return self.codec, self.lane.phase

    @classmethod
    def answer(cls, requests: Sequence[Look]) -> Sequence[np.ndarray | None]:
        return requests[0].codec.lanes.timbres([request.lane for request in requests])


@dataclass(eq=False)
class Convert(Request):
    """codes (K, n) spoken with ``source`` (256,) -> codes (6, n) for ``target`` (256,)."""

    codec: Codec
    codes: np.ndarray
    source: np.ndarray | None
    target: np.ndarray
    rank = 1

    @property
    def group(self) -> Hashable:
        return self.codec, self.codes.shape, self.source is None

    @classmethod
    def answer(cls, requests: Sequence[Convert]) -> Sequence[np.ndarray]:
        sources = [request.source for request in requests if request.source is not None]
        converted = requests[0].codec.lanes.convert(
            np.stack([request.codes for request in requests]),
            np.stack(sources) if sources else None,
            np.stack([request.target for request in requests]),
        )
        return list(converted)


@dataclass(eq=False)
class Decode(Request):
    """codes (6, n), absent ones -1, timbre (256,) -> samples (200 m,)."""

    codec: Codec
    lane: Slot
    codes: np.ndarray
    timbre: np.ndarray
    rank = 3

    @property
    def frames(self) -> int:
        return int(self.codes.shape[1])

    @property
    def group(self) -> Hashable:
        return self.codec, self.lane.phase, self.codes.shape

    @classmethod
    def answer(cls, requests: Sequence[Decode]) -> Sequence[np.ndarray | Failure]:
        audio = requests[0].codec.lanes.decode(
            [request.lane for request in requests],
            np.stack([request.codes for request in requests]),
            np.stack([request.timbre for request in requests]),
            bucket(len(requests)),
        )
        sane = np.isfinite(audio.sum(axis=1))
        return [row if fine else Failure(BROKEN) for row, fine in zip(audio, sane, strict=True)]


Work: TypeAlias = Generator[Request, Any, T]


class Stopwatch:
    """Adds up what some work takes: its own time, and that of the steps it waits for."""

    def __init__(self) -> None:
        self.total = 0.0

    def time(self, work: Work[T]) -> Work[T]:
        """The same work, timed."""
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


def run_alone(work: Work[T]) -> T:
    """Runs one stream's work, every request a step of its own."""
    ((_, result),) = run_all([(None, work)])
    if isinstance(result, Failure):
        raise result.error
    return result


def run_all(works: Iterable[tuple[K, Work[T]]]) -> Iterator[tuple[K, T | Failure]]:
    """Runs work side by side and gives each result as soon as it is there."""
    waiting: list[tuple[K, Work[T], Request]] = []
    for key, work in works:
        yield from _go_on(key, work, waiting, partial(next, work))
    while waiting:
        chosen = min((request for _, _, request in waiting), key=lambda r: (r.frames, r.rank))
        kind, group = type(chosen), chosen.group
        batch: list[tuple[K, Work[T], Request]] = []
        rest: list[tuple[K, Work[T], Request]] = []
        for one in waiting:
            fits = type(one[2]) is kind and len(batch) < BUCKETS[-1] and one[2].group == group
            (batch if fits else rest).append(one)
        waiting = rest
        answers = _answer(kind, [request for _, _, request in batch])
        for (key, work, _), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Failure):
                yield from _go_on(key, work, waiting, partial(work.throw, answer.error))
            else:
                yield from _go_on(key, work, waiting, partial(work.send, answer))


def _go_on(
    key: K,
    work: Work[T],
    waiting: list[tuple[K, Work[T], Request]],
    resume: Callable[[], Request],
) -> Iterator[tuple[K, T | Failure]]:
    """Lets work run up to its next request, or its end."""
    try:
        waiting.append((key, work, resume()))
    except StopIteration as end:
        yield key, end.value
    except Exception as error:
        yield key, Failure(error)


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
