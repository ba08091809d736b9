"""Codes in the order of their frames again, where a transport loses packets and lets them overtake
each other. No clock: times are passed in, s.

What came whole is handed on at once if nothing before it is missing. A gap is filled by a repeat,
and waited for as long as one can still come; then it is given up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from facodec.config import HOP, SAMPLE_RATE
from streaming.wire.protocol import (
    MAX_FRAMES_PER_MESSAGE,
    Codes,
    Noise,
    ProtocolError,
    Repeat,
)

REORDERED = 0.03
"""Seconds that a packet may come after one that was sent later."""
LONGEST_GAP = 1600
"""Frames, 20 s, that may be missing in a row."""
MOST_HELD = 64
"""Packets that wait for those before them; with more the gap is given up."""
HOP_SECONDS = HOP / SAMPLE_RATE


@dataclass(frozen=True)
class Piece:
    """``count`` frames from ``first`` on. ``message``: the packet that they came in; the repeat
    of their prosody and content; that they are a pause; None: they are lost."""

    first: int
    count: int
    message: Codes | Repeat | Noise | None


class Assembly:
    """One stream, from frame ``first`` on. Codes and repeats may come in any order, what tells of
    pauses comes in its own; gaps that it does not tell of are losses."""

    def __init__(self, first: int = 0) -> None:
        self.repeated = 0
        """Frames that were filled from a repeat."""
        self.lost = 0
        """Frames that were given up."""
        self._next = first
        self._held: dict[int, Piece] = {}
        self._pauses: deque[Noise] = deque()
        self._distance = 0
        self._repeated_from = -1
        self._gap: tuple[int, float] | None = None

    def put(self, message: Codes | Noise, now: float) -> None:
        """Takes a message. Raises ProtocolError for one that lies too far ahead."""
        if not message.seq <= self._next + LONGEST_GAP:
            raise ProtocolError(
                "bad-seq",
                f"expected a frame of the {LONGEST_GAP} from {self._next} on, got {message.seq}",
            )
        if isinstance(message, Noise):
            if message.seq >= self._next:
                self._pauses.append(message)
            return
        if message.repeat is not None:
            self._put_repeat(message.seq - message.repeat.back, message.repeat)
        if message.seq >= self._next:
            known = self._held.get(message.seq)
            if known is None or isinstance(known.message, Repeat):
                self._held[message.seq] = Piece(message.seq, message.n, message)

    def _put_repeat(self, first: int, repeat: Repeat) -> None:
        self._distance = repeat.back
        self._repeated_from = max(self._repeated_from, first)
        if first >= self._next and first not in self._held:
            self._held[first] = Piece(first, repeat.n, repeat)

    def take(self, now: float) -> list[Piece]:
        """Returns what is in order by now, and what is given up."""
        pieces: list[Piece] = []
        while (piece := self._following(now)) is not None:
            pieces.append(piece)
            self._next = piece.first + piece.count
            self.repeated += piece.count * isinstance(piece.message, Repeat)
            self.lost += piece.count * (piece.message is None)
        return pieces

    def flush(self) -> list[Piece]:
        """Returns all that is left: nothing follows."""
        return self.take(float("inf"))

    def wait(self, now: float) -> float | None:
        """Seconds until something may be given up; None while nothing is waited for."""
        return None if self._gap is None else max(0.0, self._deadline(*self._gap) - now)

    def _following(self, now: float) -> Piece | None:
        self._held = {first: each for first, each in self._held.items() if first >= self._next}
        end = min(self._held, default=None)
        while self._pauses and self._pauses[0].seq < self._next:
            self._pauses.popleft()
        if self._pauses and (end is None or self._pauses[0].seq <= end):
            self._gap, begins = None, self._pauses[0].seq - MAX_FRAMES_PER_MESSAGE
            if begins > self._next:  # it can only tell of so many
                return Piece(self._next, begins - self._next, None)
            pause = self._pauses.popleft()
            return Piece(self._next, pause.seq - self._next, pause)
        if end is None or end == self._next:
            self._gap = None
            return None if end is None else self._held.pop(end)
        if self._gap is None or self._gap[0] != self._next:
            self._gap = self._next, now
        if now < self._deadline(*self._gap) and len(self._held) <= MOST_HELD:
            return None
        self._gap = None
        return Piece(self._next, end - self._next, None)

    def _deadline(self, first: int, since: float) -> float:
        """Time until which the frames from ``first`` on may still come, once or repeated."""
        may_be_repeated = self._repeated_from <= first
        return since + may_be_repeated * self._distance * HOP_SECONDS + REORDERED
