"""The way down to who hears a room live: what its link does not take in time costs less, and then
is not sent, so that what follows is not late for ever."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facodec.config import MIN_LAYERS, SAMPLE_RATE
from streaming.server.outbox import Outbox
from streaming.server.peer_socket import PeerSocket
from streaming.server.watching import SessionAccount
from streaming.wire.linkcontrol import LONG, LONGEST, LinkControl, Step, steps
from streaming.wire.linkwatch import LinkWatch
from streaming.wire.media import Frames, Joined, Media, Pause, Reduced, Sound, Timbre, reduced
from streaming.wire.protocol import Hello

LOOK_EVERY = 0.1
"""Seconds from one look at the socket to the next: each costs a call of the system."""
FIRST_BASE = 0.15
"""Seconds that a message may take at first."""
FADE = SAMPLE_RATE // 125
"""Samples of the crossfade where sound was left out."""


def way_down(
    outbox: Outbox,
    socket: PeerSocket,
    account: SessionAccount,
    clock: Callable[[], float],
    hello: Hello,
) -> Downlink:
    """The way down over a socket, behind an outbox, to who said this ``hello``."""
    return Downlink(
        lambda: outbox.taken,
        lambda: outbox.size + socket.outstanding,
        account.leave_out,
        clock,
        may_leave_out_detail=bool(hello.fewer_layers),
        longest=LONGEST if hello.redundancy is None else LONG,
    )


class Downlink:
    """One listener's. ``sent``: bytes handed over so far, ``outstanding``: those of them that the
    other end has not acknowledged; ``leave_out``: told of frames that are not sent; ``clock``:
    monotonic seconds; ``may_leave_out_detail``, ``longest``: as for
    :func:`streaming.wire.linkcontrol.steps`."""

    def __init__(
        self,
        sent: Callable[[], int],
        outstanding: Callable[[], int],
        leave_out: Callable[[int], None],
        clock: Callable[[], float],
        *,
        may_leave_out_detail: bool = False,
        longest: int = LONGEST,
    ) -> None:
        self._sent, self._outstanding = sent, outstanding
        self._leave_out, self._clock = leave_out, clock
        self._may_leave_out_detail, self._longest = may_leave_out_detail, longest
        self._watch = LinkWatch(FIRST_BASE, LOOK_EVERY)
        self._control: LinkControl | None = None
        self._looked = float("-inf")
        self._broke_off = False
        self._last = np.zeros(0, np.float32)
        self._held: list[Frames] = []

    def take(self, item: Media) -> list[Media]:
        """Takes an item, and returns those to be sent now. Voices always are, and pauses, which
        cost nothing."""
        if isinstance(item, (Timbre, Pause)):
            return [*self.flush(), item]
        control = self._look(item)
        if control.is_full:
            self._broke_off = True
            self._leave_out(int(item.frames) + self._forget())
            return []
        if isinstance(item, Sound):
            if self._broke_off:
                item = Sound(_joined(self._last, item.samples))
            self._last = item.samples
        self._broke_off = False
        return [item] if isinstance(item, Sound) else self._stepped(item, control)

    def flush(self) -> list[Media]:
        """Returns what is held back."""
        held, self._held = self._held, []
        return [_one(held)] if held else []

    def _stepped(self, item: Frames, control: LinkControl) -> list[Media]:
        """Frames as the link is to have them."""
        if not control.is_slow:
            return [*self.flush(), item]
        step = control.step
        self._held.append(item if step.detailed else reduced(item))
        return self.flush() if sum(int(each.frames) for each in self._held) >= step.frames else []

    def _forget(self) -> int:
        """Drops what is held back, and returns its frames."""
        count = sum(int(each.frames) for each in self._held)
        self._held = []
        return count

    def _look(self, item: Media) -> LinkControl:
        now = self._clock()
        if self._control is None:
            self._control = LinkControl(self._steps(item))
        if now - self._looked < LOOK_EVERY:
            return self._control
        self._looked = now
        outstanding = self._outstanding()
        if outstanding or not self._watch.is_idle:
            self._watch.look(now, self._sent(), outstanding)
        self._control.decide(now, self._watch)
        return self._control

    def _steps(self, item: Media) -> list[Step]:
        """Steps for packets like this one: sound has none."""
        if isinstance(item, Sound):
            return [Step(0, True)]
        frames = max(1, int(item.frames))
        layers = len(item.codes) if isinstance(item, Frames) else 0
        may = self._may_leave_out_detail and layers > MIN_LAYERS
        return steps(frames, may_leave_out_detail=may, longest=max(frames, self._longest))


def _one(held: list[Frames]) -> Frames:
    """Frames as one packet; without detail, where any lacks it."""
    if len(held) == 1:
        return held[0]
    codes = np.concatenate([each.codes for each in held], axis=1)
    known = min(each.known if isinstance(each, Reduced) else len(codes) for each in held)
    return Reduced(codes, known) if known < len(codes) else Joined(codes)


def _joined(last: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Samples (n,) without a jump from those sent before: these go on backwards, under a fade."""
    count = min(FADE, len(last), len(samples))
    ramp = np.linspace(0.0, 1.0, count, endpoint=False, dtype=np.float32)
    joined: np.ndarray = samples.copy()
    joined[:count] = samples[:count] * ramp + last[len(last) - count :][::-1] * (1 - ramp)
    return joined
