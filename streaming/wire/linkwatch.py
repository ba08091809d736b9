"""Delay of a connection, as far as who sends can tell."""

from __future__ import annotations

from collections import deque

FULL = 0.2
"""A link behind by so many s gets nothing more that is live."""
GOOD = 0.06
"""A link is good while it is behind by less, s: receivers may acknowledge 40 ms late."""
PACE_OVER, RATE_OVER = 0.5, 2.0
"""Seconds of which the pace of a link is reckoned, and told."""
FIRST, FIRST_PACKETS = 1.0, 4
"""Seconds in which nothing is known of a link yet, and the most packets that are on the way then;
what comes meanwhile goes into longer ones."""
FIRST_BASE = 0.25
"""Seconds that the first acknowledgement may take."""
LOOK = 0.03
"""Seconds that may pass from one look at the link to the next."""
ALONE = 2
"""Packets in a row that had the link for themselves and took longer: the way has become longer."""


class LinkWatch:
    """Delay of a connection, from bytes handed to it and not acknowledged yet.

    ``lag``: s beyond the shortest time that any took: by which the oldest of them is late, or, once
    it is, by which the newest will be at the pace at which they are taken. ``alone``: messages so
    far before which none was on the way; they tell where the shortest time has become longer.
    """

    def __init__(self, base: float = FIRST_BASE) -> None:
        """``base``: s that a message may take as long as none is known to have taken less."""
        self.lag = 0.0
        self.alone = 0
        self._base = base
        self._sent = 0
        self._began: float | None = None
        self._waiting: deque[tuple[float, int, bool]] = deque()
        self._times_alone: deque[float] = deque(maxlen=ALONE)
        self._last_taken, self._last_took = float("-inf"), 0.0
        self._stands_still = False
        self._taken: deque[tuple[float, int]] = deque()

    def look(self, now: float, sent: int, unacknowledged: int) -> None:
        """``sent``: bytes ever handed over, those that ``unacknowledged`` counts included."""
        self._began = now if self._began is None else self._began
        if sent > self._sent:
            self._waiting.append((now, sent, not self._waiting))
            self._sent = sent
        taken = sent - unacknowledged
        while self._waiting and self._waiting[0][1] <= taken:
            since, _, alone = self._waiting.popleft()
            if now > since:
                self._took(now - since, alone)
        if self._taken and taken > self._taken[-1][1]:
            self._last_taken = now
        self._taken.append((now, taken))
        while now - self._taken[0][0] > RATE_OVER:
            self._taken.popleft()
        age = now - self._waiting[0][0] if self._waiting else 0.0
        # Where the last was late too, the link is slow, and no more than one goes at a time.
        still = 0 < age - self._base <= now - self._last_taken + LOOK
        self._stands_still = still and self._last_took - self._base < GOOD
        pace = self._pace(PACE_OVER)
        if age - self._base > GOOD and pace:
            age = max(age, unacknowledged / pace)
        self.lag = max(0.0, age - self._base)

    @property
    def is_stalled(self) -> bool:
        """Whether nothing has been taken for as long as the connection is behind: it is not slow,
        it stands still, as in an outage or while TCP repeats what was lost."""
        return self._stands_still

    @property
    def is_idle(self) -> bool:
        """Whether all has been acknowledged."""
        return not self._waiting

    @property
    def is_unsure(self) -> bool:
        """Whether it is too early for more packets on the way than there are."""
        if self._began is None or len(self._waiting) < FIRST_PACKETS:
            return False
        return self._taken[-1][0] - self._began < FIRST

    @property
    def kbps(self) -> float:
        """Rate that the link has taken lately, kbit/s, headers of WebSocket included."""
        return self._pace(RATE_OVER) * 8e-3

    def _took(self, seconds: float, alone: bool) -> None:
        self._base, self._last_took = min(self._base, seconds), seconds
        if alone:
            self.alone += 1
            self._times_alone.append(seconds)
            if len(self._times_alone) == ALONE and min(self._times_alone) > self._base + GOOD:
                self._base = min(self._times_alone)

    def _pace(self, seconds: float) -> float:
        """Bytes a second that were taken in the last ``seconds``."""
        end, last = self._taken[-1]
        start, first = next(each for each in self._taken if end - each[0] <= seconds)
        return max(0, last - first) / (end - start) if end > start else 0.0
