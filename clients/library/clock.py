"""Estimate of the server's clock from question and answer."""

from __future__ import annotations

from collections import deque

KEPT = 8
"""Answers remembered; the oldest make room, so a drifting clock is followed."""


class ClockEstimate:
    """Offset between two clocks, from exchanges as in NTP (RFC 5905, section 8).

    The exchange with the shortest round trip bounds the error best, so it decides.
    """

    def __init__(self) -> None:
        self._answers: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def add(self, asked: float, server: float, answered: float) -> None:
        """``asked``, ``answered``: our clock (s) around the server's reading ``server``."""
        round_trip = answered - asked
        if round_trip >= 0:
            self._answers.append((round_trip, server - (asked + answered) / 2))

    @property
    def known(self) -> bool:
        return bool(self._answers)

    @property
    def round_trip(self) -> float:
        """Shortest of the remembered round trips, s; 0 while there is none."""
        return min(self._answers)[0] if self._answers else 0.0

    @property
    def offset(self) -> float:
        """Server's clock minus ours, s; 0 while nothing is known."""
        return min(self._answers)[1] if self._answers else 0.0
