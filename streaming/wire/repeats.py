"""Repeats beside packets of codes: the sender's half."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from streaming.wire.binary import FURTHEST, MOST_REPEATED
from streaming.wire.protocol import Repeat


class Repeats:
    """Gives each packet the repeat of the one that went out ``distance`` packets before it."""

    def __init__(self, distance: int) -> None:
        self._sent: deque[tuple[int, int, Callable[[], bytes]]] = deque(maxlen=distance)

    def add(self, seq: int, frames: int, essence: Callable[[], bytes]) -> Repeat | None:
        """The repeat for the packet of so many frames from ``seq`` on, if any. ``essence``: packs
        this one's own prosody and content, for when it is its turn."""
        full = len(self._sent) == self._sent.maxlen
        oldest = self._sent[0] if full else None
        self._sent.append((seq, frames, essence))
        if oldest is None or frames > MOST_REPEATED:
            return None
        first, count, packed = oldest
        if count > MOST_REPEATED or seq - first > FURTHEST:
            return None
        return Repeat(seq - first, count, packed())
