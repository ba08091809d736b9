"""Share of the event loop that one client may take: allowances in messages, and a shared pool.

A client that sends at the pace of speech stays within its own allowance and waits for nobody. What
goes beyond is taken from a pool that all clients share, in the order they come to it, so that a
fast file goes as fast as the loop has time for and nobody's messages stop the others.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

MESSAGE_BYTES = 16 * 1024
"""A message costs one, and one more for each this many bytes."""
IN_A_ROW = 4.0
"""Cost after which one session lets the others have their turn on the loop."""
BURST = 0.5
"""Seconds of an allowance that may be spent at once by who has saved them."""
SHARED_RATE = 4000.0
"""Cost per second that all sessions together may have beyond their own allowances: about a fifth
of the event loop's time."""
SHARED_BURST = 20.0
"""Spent from the pool between two waits for it: about a millisecond of the loop."""


CROWD = 64
"""Publishers of codes, or listeners, that have the whole of their own allowance; where there are
more of a kind, each has its part of what so many have."""
FAN_RATE, FAN_BURST = 100.0, 16.0
"""Frames and voices a second of a publisher at real time, and at once, which go to all that listen
without being taken from the pool."""
FAN_TURN = 64
"""Messages to listeners after which others have their turn."""


class Allowance:
    """A bucket that holds ``burst`` and fills at ``rate`` per second of ``clock``."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = burst
        self._filled = clock()

    def covers(self, cost: float) -> bool:
        """Takes the cost if it is there; False, and nothing taken, if not."""
        self._fill()
        if self._level < cost:
            return False
        self._level -= cost
        return True

    def owe(self, cost: float, longest: float = math.inf) -> float:
        """Takes the cost even into debt; seconds until the debt is paid, 0 where there is none.
        ``longest``: seconds that it never grows beyond, as who caused it may be long gone."""
        self._fill()
        self._level = max(self._level - cost, -longest * self._rate)
        return max(0.0, -self._level / self._rate)

    def refill_at(self, rate: float) -> None:
        """Fills at another rate from now on."""
        self._fill()
        self._rate = rate

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._filled) * self._rate)
        self._filled = now


class Pool:
    """Allowance that all sessions of a server share beyond their own; first come, first served."""

    def __init__(self, clock: Callable[[], float], rate: float = SHARED_RATE) -> None:
        self._allowance = Allowance(rate, SHARED_BURST, clock)
        self._refill = SHARED_BURST / rate
        self._turn = asyncio.Lock()

    async def take(self, cost: float) -> None:
        """Returns when the cost is paid."""
        async with self._turn:
            debt = self._allowance.owe(cost)
            if debt > 0:
                # Timers are coarse: sleep for a pool that is full, not for one message.
                await asyncio.sleep(debt + self._refill)


class Pace:
    """One session's. ``rate``: cost per second of its own allowance, where it is in no crowd."""

    def __init__(self, pool: Pool, rate: float, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._rate = rate
        self._own = Allowance(rate, rate * BURST, clock)
        self._in_a_row = 0.0

    def share_with(self, crowd: int) -> None:
        """Sets its own allowance to that of one among so many of its kind."""
        self._own.refill_at(self._rate * min(1.0, CROWD / crowd))

    async def spend(self, size: int) -> None:
        """Accounts for a message of ``size`` bytes; returns when the next one may be read."""
        cost = 1.0 + size / MESSAGE_BYTES
        if not self._own.covers(cost):
            await self._pool.take(cost)
        self._in_a_row += cost
        if self._in_a_row >= IN_A_ROW:
            self._in_a_row = 0.0
            # recv() does not suspend while messages wait: without this nobody else's turn comes.
            await asyncio.sleep(0)


class FanOut:
    """Charges of one publisher for what went to those who listen: a message for each frame and
    listener. Real time costs nothing; haste, and voices without end, are taken from the pool."""

    def __init__(self, pool: Pool, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._own = Allowance(FAN_RATE, FAN_BURST, clock)

    @staticmethod
    def portion(listeners: int) -> int:
        """Most frames to be sent to so many in one turn of the loop."""
        return max(1, min(int(FAN_BURST), FAN_TURN // listeners))

    async def spend(self, frames: float, listeners: int) -> None:
        """Returns when so many frames (or, less than one, a voice) may go to so many listeners."""
        if not self._own.covers(max(1.0, frames)):
            await self._pool.take(max(1.0, frames) * listeners)
