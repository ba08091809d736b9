"""Times of packets that were sent, until they come back, and the bits of codes in a packet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from clients.library.clock import ClockEstimate
from clients.library.packets import Times
from clients.library.wire import ClientWire
from facodec.config import CODE_BITS
from streaming.wire.protocol import Codes, Stamps

MAX_STAMPS = 1024
"""Sent packets whose times are remembered until they come back; the oldest are forgotten."""


class SentStamps:
    """Stamps of one session, which travel on the server's clock, so that any other client can read
    them too. ``now``: our clock, s."""

    def __init__(
        self, encoding: ClientWire, clock: ClockEstimate, now: Callable[[], float]
    ) -> None:
        self._encoding = encoding
        self._clock = clock
        self._now = now
        self._sent: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def stamp(self, captured: float | None) -> float | None:
        """The stamp of a packet that is sent now; None where the server's clock is not known."""
        if captured is None or not self._clock.known:
            return None
        stamp = captured + self._clock.offset
        self._sent[self._encoding.ticks(stamp)] = captured, self._now()
        if len(self._sent) > MAX_STAMPS:
            self._sent.popitem(last=False)
        return stamp

    def times(self, stamps: Stamps | None, arrived: float) -> Times:
        """Times of a packet that arrived with these stamps."""
        if stamps is None:
            return Times(arrived)
        if stamps.t is None:
            return Times(arrived, stamps=stamps)
        known = self._sent.get(self._encoding.ticks(stamps.t))
        captured, sent = known or (stamps.t - self._clock.offset, None)
        return Times(arrived, captured, sent, stamps)


def codes_bits(message: Codes, layers: int) -> int:
    """Bits of the codes in a message, which may be entropy coded."""
    return min(8 * len(message.data), CODE_BITS * layers * message.n)
