"""Fair turns: what a stream may have computed at once, and what is left for the others.

No threads and no clock of its own: times are seconds that the caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from facodec.config import HOP, SAMPLE_RATE

FRAME_RATE = SAMPLE_RATE / HOP
RATE = 1.05 * FRAME_RATE
"""Frames a second that a stream earns: real time, and room for a clock that runs fast."""
Cost = Callable[[int], float]
"""Seconds that a hop of a stream is expected to take where so many have one together."""
BEGINNING, ALLOWANCE = 16.0, 160.0
"""Frames that a stream has to begin with, two of the largest packets, and the most that it may have
earned and not used: what piles up in two seconds in which the network, or this server, stands."""
SHARE = 0.4
"""Share of a model thread's time that may go into steps. About as long again goes to sockets and
packets, which share the interpreter with the model threads, and what came during a step waits for
it: beyond this, one answer in a hundred took longer than a hop."""
LEAST = 0.05
"""Share of that time that streams which catch up get at least, whatever the others take."""
BURST = 0.004
"""Seconds of it that may be saved up."""
MEMORY = 0.05
"""Seconds beyond their share by which those on time are held against who catches up."""
STEP = 0.003
"""Seconds that one step of those who catch up should take at most while others are on time, or one
frame of one stream where that takes longer."""
LOOK = HOP / SAMPLE_RATE
"""Seconds after which a waiting thread looks again at what has been earned meanwhile."""
OVERTAKING = 8 * LOOK
"""Seconds in which longer turns let shorter ones go first."""
LIVE = 1.0
"""Seconds since it was last on time in which a stream is live."""


class Credit:
    """Frames that a stream may send and still be on time: those that real time has brought, at most
    ``most`` at once; ``beginning`` to begin with."""

    def __init__(self, now: float, most: float = ALLOWANCE, beginning: float = BEGINNING) -> None:
        self._most, self._frames = most, beginning
        self._at = now

    def spend(self, frames: float, now: float) -> bool:
        """Whether so many have been earned; if so they are taken."""
        self._frames = min(self._most, self._frames + RATE * max(0.0, now - self._at))
        self._at = now
        if frames > self._frames:
            return False
        self._frames -= frames
        return True


class Leftover:
    """Seconds that a model thread has for those who catch up while others are on time: what these
    leave of :data:`SHARE`, and at least :data:`LEAST` of all."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._least = self._spare = BURST

    def take(self, seconds: float) -> None:
        """The model has computed so long for those on time."""
        self._spare = max(-MEMORY, self._spare - seconds)

    def spend(self, seconds: float) -> None:
        """Books the seconds that the model has computed for who catches up."""
        if self._spare > 0.0:
            self._spare -= seconds
        else:
            self._least -= seconds

    def wait(self, now: float) -> float:
        """Seconds until there is something left, 0 where there is."""
        passed, self._at = max(0.0, now - self._at), now
        self._spare = min(BURST, self._spare + (SHARE - LEAST) * passed)
        self._least = min(BURST, self._least + LEAST * passed)
        if max(self._spare, self._least) > 0.0:
            return 0.0
        return min(-self._spare / (SHARE - LEAST), -self._least / LEAST)


def late_frames(cost: Cost | None, most: int) -> int:
    """Frames of one stream that a step of those who catch up may have, at most so many."""
    one = cost(1) / 2 if cost is not None else 0.0  # encoding and decoding are two steps
    return max(1, min(most, int(STEP / one))) if one else most


def late_rows(cost: Cost | None, sizes: Iterable[int]) -> int:
    """The largest of the sizes of a batch that such a step may have."""
    fitting = (size for size in sizes if cost is None or size * cost(size) / 2 <= STEP)
    return max(fitting, default=1)
