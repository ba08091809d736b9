"""Arithmetic coding of symbols into the fewest whole bytes, exact in integers of any length.

A message is a number in [0, 1): each symbol takes its share of the interval that the symbols before
it left, and the shortest fraction of whole bytes in the last interval stands for all. Nothing is
rounded, so that a message of 60 bytes costs at most 8 bits more than its information.
Source: Rissanen and Langdon, "Arithmetic coding", IBM Journal 23 (1979).
"""

from __future__ import annotations

from collections.abc import Iterable

BYTE = 8


def encode(shares: Iterable[tuple[int, int, int]]) -> bytes:
    """Encodes symbols given as (start, width, total) of their share, 0 <= start < start + width <=
    total. A ValueError for a share that is empty or beyond its total."""
    low, width, whole = 0, 1, 1
    for start, size, total in shares:
        if not 0 <= start < start + size <= total:
            raise ValueError(f"expected a share inside {total}, got {start} + {size}")
        low = low * total + start * width
        width *= size
        whole *= total
    # The interval is [low, low + width) / whole; the shortest fraction in it, rounded up.
    count = max(0, whole.bit_length() - width.bit_length() - 1) // BYTE
    while True:
        place = -(-(low << BYTE * count) // whole)
        if place * whole < (low + width) << BYTE * count:
            return place.to_bytes(count, "big")
        count += 1


class Decoder:
    """Symbols back from the bytes that :func:`encode` made of them: for each, :meth:`place` says
    where in its total the message lies, and :meth:`take` goes on behind the share found there."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._whole = 1 << BYTE * len(data)

    def place(self, total: int) -> int:
        """Position 0..total - 1 in the shares of the next symbol."""
        return self._value * total // self._whole

    def take(self, start: int, width: int, total: int) -> None:
        """Removes the symbol whose share (start, width) of ``total`` holds the position."""
        self._value = self._value * total - start * self._whole
        self._whole *= width
