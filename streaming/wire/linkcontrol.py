"""Decisions on live codes over a link that may be too slow: they must not fall behind.

In this order: more frames a packet, as headers outweigh codes; then packets without detail, and
longer ones still; then nothing more is handed to a connection that has not taken what it has. Steps
are taken back when the link has been good for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming.wire.linkwatch import ALONE, FULL, LinkWatch

LONG, LONGEST = 8, 16
"""Frames a packet at most with all layers, 87.5 ms more delay than one, and without detail."""
PATIENCE, MOST_PATIENCE, IMPATIENCE = 1.0, 60.0, 2.0
"""Seconds that a link must have been good before a step is taken back; so many times as long, up to
the most, each time that the step had to be taken again soon, and so many times less long where that
was not so."""
TRY_AFTER = 5.0
"""Seconds that a link must have been late until packets are sent one by one, to see whether it is
the link that is slow or the way that is long; then twice as long, and so on, up to the most."""
GOOD_FOR = 1.0
"""Seconds after which a link that is good is not late any more."""


@dataclass(frozen=True)
class Step:
    """Packets of so many frames at least, with detail or without."""

    frames: int
    detailed: bool


def steps(wanted: int, *, may_leave_out_detail: bool, longest: int = LONGEST) -> list[Step]:
    """Steps of a link from good to bad. ``wanted``: frames a packet where it is good; ``longest``:
    at most."""
    found, frames = [Step(wanted, True)], wanted
    while frames < min(LONG, longest):
        frames = min(2 * frames, LONG, longest)
        found.append(Step(frames, True))
    if may_leave_out_detail:
        found.append(Step(frames, False))
    if frames < longest:
        found.append(Step(longest, not may_leave_out_detail))
    return found


class LinkControl:
    """Decides which of the ``steps`` holds, and whether more may be sent."""

    def __init__(self, steps: list[Step]) -> None:
        self.is_full = False
        self._steps, self._at = steps, 0
        self._good_since: float | None = None
        self._eased: float | None = None
        self._patience = PATIENCE
        self._late_since: float | None = None
        self._trying_until: int | None = None
        self._try_after = TRY_AFTER

    @property
    def step(self) -> Step:
        """Step that holds now."""
        return self._steps[self._at]

    @property
    def is_slow(self) -> bool:
        """Whether anything is done about the link."""
        return self.is_full or self._at > 0

    def decide(self, now: float, watch: LinkWatch) -> bool:
        """Looks at the ``watch`` of the link; returns whether packets cost less from here on."""
        self._try_alone(now, watch)
        self.is_full = watch.lag > FULL if self._trying_until is None else not watch.is_idle
        if watch.is_slow:
            self._good_since = None
        elif self._good_since is None:
            self._good_since = now
        if watch.is_slow and self._at + 1 < len(self._steps):
            self._learn_patience(now)
            self._at += 1
            watch.restart()  # what was sent before says nothing of what this brings
            return True
        if self._may_ease(now):
            self._at -= 1
            self._eased = self._good_since = now
        return False

    def _try_alone(self, now: float, watch: LinkWatch) -> None:
        """Begins and ends the time in which packets are sent one by one."""
        if self._trying_until is not None:
            if watch.alone >= self._trying_until:
                self._trying_until, self._late_since = None, None
        elif self._good_since is not None and now - self._good_since >= GOOD_FOR:
            self._late_since, self._try_after = None, TRY_AFTER
        elif self._late_since is None:
            self._late_since = now
        elif now - self._late_since >= self._try_after:
            self._trying_until = watch.alone + ALONE + 1
            self._try_after = min(2 * self._try_after, MOST_PATIENCE)

    def _learn_patience(self, now: float) -> None:
        """Waits longer before a step is taken back where one that was is taken again soon, and less
        long where that held."""
        if self._eased is None:
            return
        times = IMPATIENCE if now - self._eased < 2 * self._patience else 1 / IMPATIENCE
        self._patience = min(max(PATIENCE, times * self._patience), MOST_PATIENCE)
        self._eased = None

    def _may_ease(self, now: float) -> bool:
        good = self._good_since
        return self._at > 0 and good is not None and now - good >= self._patience
