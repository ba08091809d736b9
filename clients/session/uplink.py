"""The way up of live sound over a link that may be too slow: it must not fall behind.

In this order: more frames a packet, as headers outweigh codes; then nothing more is handed to a
connection that has not taken what it has, and the oldest of what waits here is dropped. Steps are
taken back when the link has been good for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from facodec.config import HOP
from facodec.identity import belonging, model_of
from streaming.wire.linkwatch import ALONE, FULL, GOOD, LinkWatch

MOST_FRAMES = 8
"""Frames a packet at most: 87.5 ms more delay than one."""
SLOW = 0.1
"""A link behind by so many s gets packets of twice as many frames."""
STEP_EVERY = 0.3
"""Seconds at least between two such steps, so that one can show what it brings."""
HELD = 8
"""Frames that wait here at most while the link is full; the oldest are dropped."""
PATIENCE, MOST_PATIENCE = 5.0, 60.0
"""Seconds that a link must have been good before a step is taken back; twice as long, up to the
most, each time that the step had to be taken again."""
TRY_AFTER = 5.0
"""Seconds that a link must have been late until packets are sent one by one, to see whether it is
the link that is slow or the way that is long; then twice as long, and so on, up to the most."""
GOOD_FOR = 1.0
"""Seconds after which a link that is good is not late any more."""


class LinkControl:
    """Decides on frames a packet, and on whether more may be sent. ``wanted``: frames a packet
    where the link is good."""

    def __init__(self, wanted: int) -> None:
        self.frames = wanted
        self.is_full = False
        self._wanted = wanted
        self._changed = float("-inf")
        self._good_since: float | None = None
        self._eased = float("-inf")
        self._patience = PATIENCE
        self._late_since: float | None = None
        self._trying_until: int | None = None
        self._try_after = TRY_AFTER

    @property
    def is_slow(self) -> bool:
        """Whether anything is done about the link."""
        return self.is_full or self.frames > self._wanted

    def decide(self, now: float, watch: LinkWatch) -> None:
        """``watch``: of the link."""
        lag = watch.lag
        self._try_alone(now, watch)
        self.is_full = lag > FULL if self._trying_until is None else not watch.is_idle
        if lag >= GOOD:
            self._good_since = None
        elif self._good_since is None:
            self._good_since = now
        if watch.is_stalled and lag > FULL:
            self._changed = now  # what comes of it is not to be taken for a slow link either
        may_step = self.frames < MOST_FRAMES and now - self._changed >= STEP_EVERY
        if lag > SLOW and may_step and not watch.is_stalled:
            if now - self._eased < 2 * self._patience:
                self._patience = min(2 * self._patience, MOST_PATIENCE)
            self.frames = min(2 * self.frames, MOST_FRAMES)
            self._changed = now
        elif self._may_ease(now):
            self.frames = max(self.frames // 2, self._wanted)
            self._changed = self._eased = self._good_since = now

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

    def _may_ease(self, now: float) -> bool:
        good = self._good_since
        return self.frames > self._wanted and good is not None and now - good >= self._patience


@dataclass
class LinkCounters:
    """The control of a live command, over all its sessions."""

    steps: int = 0
    """Times that packets were made longer."""
    dropped: int = 0
    """Frames dropped, as the link did not take them in time."""
    skipped: int = 0
    """Frames that were lost on their way back, with a connection."""
    returns: int = 0
    """Times that a session went on over another connection."""

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class UplinkSession(Protocol):
    """Questions to a session."""

    @property
    def bytes_sent(self) -> int: ...

    @property
    def unacknowledged(self) -> int: ...

    async def send_audio(self, samples: np.ndarray, captured: float | None = None) -> None: ...

    async def send_codes(self, codes: np.ndarray, captured: float | None = None) -> None: ...

    async def send_pause(self, frames: int, noise: bytes = b"") -> None: ...


class Uplink:
    """Sends live sound or codes over one session and drops what comes too late. What is not
    ``live`` is sent as it comes, however long that takes."""

    def __init__(
        self,
        session: UplinkSession,
        counters: LinkCounters,
        *,
        frames: int,
        live: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._counters = counters
        self._live = live
        self._clock = clock
        self._watch = LinkWatch()
        self._control = LinkControl(frames)
        self._held: list[tuple[np.ndarray, float | None]] = []

    @property
    def trouble(self) -> str:
        """A sentence on the link for the user; empty where it is good."""
        return f"link too slow: {self._watch.kbps:.1f} kbit/s" if self._control.is_slow else ""

    async def send_audio(self, samples: np.ndarray, captured: float | None) -> None:
        """Samples (n,), or nothing while the link is full."""
        if self._live and self._look().is_full:
            self._counters.dropped += -(-len(samples) // HOP)
            return
        await self._session.send_audio(samples, captured)
        self._look_on()

    async def send_codes(self, codes: np.ndarray, captured: float | None) -> None:
        """Codes (K, n), now or with those that come next."""
        self._held.append((codes, captured))
        if not self._live:
            await self.flush()
            return
        control = self._look()
        if control.is_full:
            self._drop()
        elif self._frames_held() >= (HELD if self._watch.is_unsure else control.frames):
            await self.flush()

    async def send_pause(self, frames: int, noise: bytes) -> None:
        """Leave out frames, and send what is held before them; nothing while the link is full."""
        if self._live and self._look().is_full:
            self._drop()
            self._counters.dropped += frames
            return
        await self.flush()
        await self._session.send_pause(frames, noise)
        self._look_on()

    async def flush(self) -> None:
        """Send what is held."""
        if not self._held:
            return
        held, self._held = self._held, []
        codes = held[0][0] if len(held) == 1 else _joined([codes for codes, _ in held])
        await self._session.send_codes(codes, held[-1][1])
        self._look_on()

    def _look(self) -> LinkControl:
        now, frames = self._clock(), self._control.frames
        self._look_on()
        self._control.decide(now, self._watch)
        self._counters.steps += self._control.frames > frames
        return self._control

    def _look_on(self) -> None:
        if self._live:
            session = self._session
            self._watch.look(self._clock(), session.bytes_sent, session.unacknowledged)

    def _frames_held(self) -> int:
        return sum(codes.shape[1] for codes, _ in self._held)

    def _drop(self) -> None:
        while self._frames_held() > HELD and len(self._held) > 1:
            self._counters.dropped += self._held.pop(0)[0].shape[1]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    # np.concatenate alone would forget which model the codes are of.
    return belonging(np.concatenate(parts, axis=1), model_of(parts[0]))
