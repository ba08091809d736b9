"""The way up of live sound over a link that may be too slow: it must not fall behind.

In this order (:mod:`streaming.wire.linkcontrol`): more frames a packet, no detail, longer packets
still; then nothing more is handed to a connection that has not taken what it has, and the oldest of
what waits here is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from facodec.config import HOP
from facodec.identity import belonging, model_of
from streaming.wire.linkcontrol import LONG, LONGEST, LinkControl, steps
from streaming.wire.linkwatch import LinkWatch

HELD = 8
"""Frames that wait here at most while the link is full, or as many as a packet has; the oldest are
dropped."""


@dataclass
class LinkCounters:
    """The control of a live command, over all its sessions."""

    steps: int = 0
    """Times that packets were made to cost less."""
    reduced: int = 0
    """Frames sent without detail."""
    reduced_in: int = 0
    """Frames that came without detail."""
    dropped: int = 0
    """Frames dropped, as the link did not take them in time."""
    skipped: int = 0
    """Frames that were lost on their way back, with a connection."""
    returns: int = 0
    """Times that a session went on over another connection."""
    lost: int = 0
    """Frames that a network lost on their way here, for good."""
    repaired: int = 0
    """Frames that it lost, and another packet repeated in part."""
    concealed: int = 0
    """Frames that were made up where some were lost."""

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class UplinkSession(Protocol):
    """Questions to a session."""

    @property
    def bytes_sent(self) -> int: ...

    @property
    def unacknowledged(self) -> int: ...

    @property
    def may_leave_out_detail(self) -> bool: ...

    @property
    def repeats(self) -> bool: ...

    def leave_out_detail(self, *, leave: bool) -> None: ...

    def hold_voices(self, *, hold: bool) -> None: ...

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
        # Packets of more frames are not repeated.
        longest = max(frames, LONG if session.repeats else LONGEST)
        may_reduce = session.may_leave_out_detail
        self._control = LinkControl(steps(frames, may_leave_out_detail=may_reduce, longest=longest))
        self._held: list[tuple[np.ndarray, float | None]] = []

    @property
    def trouble(self) -> str:
        """A sentence on the link for the user; empty where it is good."""
        if not self._control.is_slow:
            return ""
        detail = "" if self._control.step.detailed else ", no detail"
        return f"link too slow: {self._watch.kbps:.1f} kbit/s{detail}"

    async def send_audio(self, samples: np.ndarray, captured: float | None) -> None:
        """Samples (n,), or nothing while the link is full."""
        if self._live and self._decide().is_full:
            self._counters.dropped += -(-len(samples) // HOP)
            return
        await self._session.send_audio(samples, captured)
        self.look()

    async def send_codes(self, codes: np.ndarray, captured: float | None) -> None:
        """Codes (K, n), now or with those that come next."""
        self._held.append((codes, captured))
        if not self._live:
            await self.flush()
            return
        control = self._decide()
        if control.is_full:
            self._drop()
        elif self._frames_held() >= max(
            control.step.frames * control.is_slow, HELD * self._watch.is_unsure
        ):
            await self.flush()

    async def send_pause(self, frames: int, noise: bytes) -> None:
        """Leave out frames, and send what is held before them; nothing while the link is full."""
        if self._live and self._decide().is_full:
            self._drop()
            self._counters.dropped += frames
            return
        await self.flush()
        # A voice that has the link for itself puts off nothing.
        self._session.hold_voices(hold=not self._watch.is_idle)
        await self._session.send_pause(frames, noise)
        self.look()

    async def flush(self) -> None:
        """Send what is held."""
        if not self._held:
            return
        held, self._held = self._held, []
        codes = held[0][0] if len(held) == 1 else _joined([codes for codes, _ in held])
        detailed = self._control.step.detailed
        self._session.leave_out_detail(leave=not detailed)
        self._session.hold_voices(hold=self._watch.is_behind)
        self._counters.reduced += codes.shape[1] * (not detailed)
        await self._session.send_codes(codes, held[-1][1])
        self.look()

    def look(self) -> None:
        """Looks at the link: the more often, the better its delay is known."""
        if self._live:
            session = self._session
            self._watch.look(self._clock(), session.bytes_sent, session.unacknowledged)

    def _decide(self) -> LinkControl:
        self.look()
        self._counters.steps += self._control.decide(self._clock(), self._watch)
        return self._control

    def _frames_held(self) -> int:
        return sum(codes.shape[1] for codes, _ in self._held)

    def _drop(self) -> None:
        most = max(HELD, self._control.step.frames)
        while self._frames_held() > most and len(self._held) > 1:
            self._counters.dropped += self._held.pop(0)[0].shape[1]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    # np.concatenate alone would forget which model the codes are of.
    return belonging(np.concatenate(parts, axis=1), model_of(parts[0]))
