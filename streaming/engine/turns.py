"""Queue of one stream, in order: what arrived on time, and what is ahead of real time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from streaming.engine.fairness import LIVE, Credit
from streaming.wire.media import Media, load, split

TURN_FRAMES = 8
"""Most frames one stream computes before the next stream has its turn (100 ms of audio)."""

FEW = 10
"""Late pieces in the queue of a stream that counts as live all the same."""


@dataclass(eq=False, slots=True)
class Job:
    """At most a turn's worth of media. ``late``: more than real time had brought when it arrived,
    or behind something that is; ``t``: its capture stamp; ``frames``: what it counts for."""

    item: Media
    arrived: float
    t: float | None
    late: bool
    frames: float


class Queue:
    """One stream's jobs. ``frames``: how many wait or are being computed."""

    def __init__(self, credit: Credit) -> None:
        self.frames = 0.0
        self._credit = credit
        self._jobs: deque[Job] = deque()
        self._late = 0
        self._on_time = -LIVE

    def __bool__(self) -> bool:
        return bool(self._jobs)

    @property
    def is_late(self) -> bool:
        """Whether the next turn is."""
        return bool(self._jobs) and self._jobs[0].late

    def is_live(self, now: float) -> bool:
        """Whether media come in real time: lately some did, and hardly any are ahead of it."""
        return now - self._on_time < LIVE and self._late < FEW

    def put(self, item: Media, t: float | None, now: float) -> bool:
        """Whether there was anything in the media."""
        parts = split(item, TURN_FRAMES)
        for part in parts:
            frames = load(part)
            # Whatever the server is behind by: it is the sender who is on time, or is not.
            late = self._late > 0 or not self._credit.spend(frames, now)
            self._late += late
            self.frames += frames
            self._jobs.append(Job(part, now, t, late, frames))
        if not self._late:
            self._on_time = now
        return bool(parts)

    def coming(self, most: int = TURN_FRAMES) -> float:
        """Load of the next turn."""
        if len(self._jobs) == 1:
            return min(most, self._jobs[0].frames)
        frames = 0.0
        for job in self._jobs:
            if frames >= most or job.late != self._jobs[0].late:
                break
            frames += min(most, job.frames)
        return frames

    def pay(self, frames: float, now: float) -> bool:
        """Whether real time has brought so many late frames by now; if so they are paid for."""
        return self._credit.spend(frames, now)

    def take(self, most: int = TURN_FRAMES) -> list[Job]:
        """The next turn: the oldest jobs, all of them late or none."""
        if len(self._jobs) == 1 and self._jobs[0].frames <= most:
            return [self._jobs.popleft()]
        taken: list[Job] = []
        frames = 0.0
        while self._jobs and frames < most and self._jobs[0].late == (taken or self._jobs)[0].late:
            job = self._jobs.popleft()
            if job.item.frames > most:
                job, *rest = (
                    replace(job, item=part, frames=load(part)) for part in split(job.item, most)
                )
                self._jobs.extendleft(reversed(rest))
                self._late += job.late * len(rest)
            taken.append(job)
            frames += job.frames
        return taken

    def done(self, jobs: list[Job]) -> None:
        """A turn has been computed."""
        for job in jobs:
            self.frames -= job.frames
            self._late -= job.late
        self.frames = max(0.0, self.frames)

    def clear(self) -> None:
        """Forgets all."""
        self._jobs.clear()
        self.frames = 0.0
