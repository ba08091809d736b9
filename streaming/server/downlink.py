"""The way down to who hears a room live: sound that its link does not take in time is not sent, so
that what follows is not late for ever."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facodec.config import SAMPLE_RATE
from streaming.server.outbox import Outbox
from streaming.server.peer_socket import PeerSocket
from streaming.server.watching import SessionAccount
from streaming.wire.linkwatch import FULL, LinkWatch
from streaming.wire.media import Media, Pause, Sound, Timbre

LOOK_EVERY = 0.1
"""Seconds from one look at the socket to the next: each costs a call of the system."""
FIRST_BASE = 0.15
"""Seconds that a message may take at first."""
FADE = SAMPLE_RATE // 125
"""Samples of the crossfade where sound was left out."""


def way_down(
    outbox: Outbox, socket: PeerSocket, account: SessionAccount, clock: Callable[[], float]
) -> Callable[[Media], Media | None]:
    """:meth:`Downlink.take` of the way down over a socket, behind an outbox."""
    return Downlink(
        lambda: outbox.taken,
        lambda: outbox.size + socket.outstanding,
        account.leave_out,
        clock,
    ).take


class Downlink:
    """One listener's. ``sent``: bytes handed over so far, ``outstanding``: those of them that the
    other end has not acknowledged; ``leave_out``: told of frames that are not sent; ``clock``:
    monotonic seconds."""

    def __init__(
        self,
        sent: Callable[[], int],
        outstanding: Callable[[], int],
        leave_out: Callable[[int], None],
        clock: Callable[[], float],
    ) -> None:
        self._sent, self._outstanding = sent, outstanding
        self._leave_out, self._clock = leave_out, clock
        self._watch = LinkWatch(FIRST_BASE)
        self._looked = float("-inf")
        self._is_full = self._broke_off = False
        self._last = np.zeros(0, np.float32)

    def take(self, item: Media) -> Media | None:
        """The item as it is to be sent, None where it is not. Voices always are, and pauses, which
        cost nothing."""
        if isinstance(item, (Timbre, Pause)):
            return item
        self._look()
        if self._is_full:
            self._broke_off = True
            self._leave_out(int(item.frames))
            return None
        if isinstance(item, Sound):
            if self._broke_off:
                item = Sound(_joined(self._last, item.samples))
            self._last = item.samples
        self._broke_off = False
        return item

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        outstanding = self._outstanding()
        if outstanding or not self._watch.is_idle:
            self._watch.look(now, self._sent(), outstanding)
            self._is_full = self._watch.lag > FULL


def _joined(last: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Samples (n,) without a jump from those sent before: these go on backwards, under a fade."""
    count = min(FADE, len(last), len(samples))
    ramp = np.linspace(0.0, 1.0, count, endpoint=False, dtype=np.float32)
    joined: np.ndarray = samples.copy()
    joined[:count] = samples[:count] * ramp + last[len(last) - count :][::-1] * (1 - ramp)
    return joined
