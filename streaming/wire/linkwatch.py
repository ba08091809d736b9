"""Delay of a connection, as far as who sends can tell."""

from __future__ import annotations

from collections import deque

FULL = 0.2
"""A link behind by so many s gets nothing more that is live."""
SLOW, STANDING = 0.1, 0.3
"""A link is slow where every message has been late by so many s, for so many s: a long one that
went before, or an acknowledgement that comes late, passes."""
DRAINED = 0.02
"""Seconds by which a link that takes more than it gets is less late after that time."""
GRACE, STILL = 0.5, 0.3
"""Seconds after a link stood still for which it says nothing that what it got before is late, and
of taking nothing more of that after which it stands still again: an acknowledgement that was lost
comes by itself, long before TCP sends again what was lost."""
GOOD = 0.06
"""A message that is late by less, s, is not late: receivers may acknowledge after 40 ms."""
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
    it is, by which the newest will be at the pace at which they are taken. ``alone``:
    messages so far before which none was on the way; they tell where the shortest time has become
    longer.
    """

    def __init__(self, base: float = FIRST_BASE, look_every: float = 0.0) -> None:
        """``base``: s that a message may take as long as none is known to have taken less;
        ``look_every``: s from one look to the next, where that is long."""
        self.lag = 0.0
        self.alone = 0
        self._base, self._look_every = base, look_every
        self._sent = 0
        self._began: float | None = None
        self._stood_still = self._restarted = float("-inf")
        self._waiting: deque[tuple[float, int, bool]] = deque()
        self._behind_since: float | None = None
        self._behind_by = 0.0
        self._now = float("-inf")
        self._times_alone: deque[float] = deque(maxlen=ALONE)
        self._last_taken, self._last_took = float("-inf"), 0.0
        self._busy_since: float | None = None
        self._stands_still = False
        self._taken: deque[tuple[float, int]] = deque()

    def look(self, now: float, sent: int, unacknowledged: int) -> None:
        """Looks at the link. ``now``: monotonic s; ``sent``: bytes ever handed over, those that
        ``unacknowledged`` counts included."""
        self._began = now if self._began is None else self._began
        self._now = now
        if sent > self._sent:
            self._waiting.append((now, sent, not self._waiting))
            self._sent = sent
        taken = sent - unacknowledged
        while self._waiting and self._waiting[0][1] <= taken:
            since, _, alone = self._waiting.popleft()
            if now > since:
                self._took(since, alone)
        if self._taken and taken > self._taken[-1][1]:
            self._last_taken = now
            self._busy_since = now if self._busy_since is None else self._busy_since
        if not self._waiting:
            self._busy_since = None
        self._taken.append((now, taken))
        while now - self._taken[0][0] > RATE_OVER:
            self._taken.popleft()
        oldest = self._waiting[0][0] if self._waiting else now
        late = now - oldest - self._base
        stopped = 0 < late <= now - self._last_taken + LOOK
        self._stands_still = self._is_still(oldest, late, stopped=stopped)
        self.lag = max(0.0, late, self._expected(unacknowledged) if late > GOOD else 0.0)
        if self._stands_still and late > GOOD:
            self._stood_still, self._behind_since = now, None
        elif not self._waiting:
            self._behind_since = None
        elif late >= SLOW:
            # What has stopped may be an outage: that shows before SLOW and STANDING are over.
            self._note_late(oldest, SLOW if stopped else self.lag)

    def restart(self) -> None:
        """Begins anew to see whether the link is slow, as packets cost less from here on."""
        self._restarted, self._behind_since = self._now, None

    @property
    def is_slow(self) -> bool:
        """Whether the link takes less than is handed to it: for 0.3 s it never was behind by less
        than 0.1, as CoDel tells a queue that stands from one that drains (Nichols and Jacobson,
        2012), or it is behind by 0.2 though it takes something."""
        return self._behind_since is not None and self._now - self._behind_since >= STANDING

    @property
    def is_behind(self) -> bool:
        """Whether what is on the way, or was taken last while more came, is late."""
        late = max(self.lag, self._last_took - self._base)
        return not self.is_idle and late >= GOOD

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

    def _took(self, since: float, alone: bool) -> None:
        """Notes that data handed over then has been taken since the last look."""
        seconds = self._now - since
        self._base, self._last_took = min(self._base, seconds), seconds
        late = seconds - self._base - self._look_every
        if late < SLOW:
            self._behind_since = None
        else:
            self._note_late(since, late)
        if alone:
            self.alone += 1
            self._times_alone.append(seconds)
            if len(self._times_alone) == ALONE and min(self._times_alone) > self._base + GOOD:
                self._base = min(self._times_alone)

    def _is_still(self, oldest: float, late: float, *, stopped: bool) -> bool:
        """Whether the link takes nothing, as in an outage or while TCP repeats what was lost.
        ``oldest``, ``late``: when that was handed over which waits longest, and how late it is;
        ``stopped``: whether nothing was taken for so long, so that there was no queue before."""
        if stopped and self._last_took - self._base >= GOOD:  # the last was late too
            return late >= SLOW + STANDING
        again = self._now - self._last_taken >= STILL and oldest <= self._stood_still
        return stopped or (again and late > 0)

    def _note_late(self, since: float, late: float) -> None:
        """Notes that data handed over then is late."""
        if since <= self._stood_still and self._now - self._stood_still < GRACE:
            return
        if late >= FULL and self._now - self._restarted >= STANDING:  # at once
            self._behind_since = float("-inf")
        elif self._behind_since is None:
            if since > self._restarted:
                self._behind_since, self._behind_by = self._now, late
        elif self.is_slow and late <= self._behind_by - DRAINED:
            self._behind_since, self._behind_by = self._now, late

    def _expected(self, unacknowledged: int) -> float:
        """Seconds that the newest will be late at the pace of the link; 0 where that is unknown, as
        what was taken before it was busy tells what was sent."""
        if self._busy_since is None or self._stands_still:
            return 0.0
        pace = self._pace(min(PACE_OVER, self._now - self._busy_since))
        return unacknowledged / pace - self._base if pace else 0.0

    def _pace(self, seconds: float) -> float:
        """Bytes a second that were taken in the last ``seconds``."""
        end, last = self._taken[-1]
        start, first = next(each for each in self._taken if end - each[0] <= seconds)
        return max(0, last - first) / (end - start) if end > start else 0.0
