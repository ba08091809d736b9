"""Settings of a playout buffer, and what it counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from facodec.config import SAMPLE_RATE


@dataclass(frozen=True)
class PlayoutSettings:
    """All times in seconds. ``rate``: samples per second of what is pushed and pulled."""

    rate: int = SAMPLE_RATE
    reserve: float = 0.015
    """Seconds that should still wait when the next packet arrives, at the start and at least."""
    growth: float = 0.015
    """Added to the reserve each time that a packet came too late by no more than ``slight``; so
    much at most."""
    slight: float = 0.04
    """Seconds from which a packet that is late has been held up by a stall: nobody wants so large a
    margin all the time."""
    limit: float = 0.5
    """Most that may wait. Beyond it the oldest samples are dropped and counted as overrun."""
    calm: float = 1.0
    """The margin must have been ample for this long before the delay shrinks."""
    forget: float = 4.0
    """After this long without a gap, one growth step of the reserve is given back."""
    settled: float = 0.5
    """A margin that was ample for this long is too much where it is ``near`` beyond the reserve."""
    brief: float = 0.25
    """A margin that was ample for this long is too much where it is ``far`` beyond the reserve, or
    ``near`` beyond it after a gap; longer than packets come in bunches."""
    far: float = 0.15
    """Seconds too many that are skipped at once."""
    near: float = 0.025
    """Seconds too many that are caught up with, 25 % faster at most, faster still in silence."""
    hurry: float = 1.0
    """Seconds after a gap in which delay is caught up with as soon as it is known."""
    splice_every: float = 0.04
    """Least time between two cuts or repeats, so that speech speeds up by 20 % at most."""
    overlap: float = 0.004
    shortest_splice: float = 0.0025
    fade: float = 0.008
    """Length of the fade to silence when the buffer is empty, and of the fade back in."""

    def __post_init__(self) -> None:
        if self.rate < 1:
            raise ValueError(f"expected a positive rate, got {self.rate}")
        if not 0 <= self.reserve < self.limit:
            raise ValueError(
                f"expected a reserve below the limit of {self.limit} s, got {self.reserve} s"
            )

    def samples(self, seconds: float) -> int:
        return round(seconds * self.rate)

    def unhurried(self) -> PlayoutSettings:
        """For sound that nobody waits for: nothing is left out of it to catch up after a stall."""
        return replace(self, far=2 * self.limit, near=2 * self.limit)


@dataclass
class PlayoutCounters:
    """Events, and samples they concerned."""

    underruns: int = 0
    concealed: int = 0
    overruns: int = 0
    dropped: int = 0
    cut: int = 0
    repeated: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)
