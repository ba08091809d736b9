"""Losses of one session of a live command with its connections."""

from __future__ import annotations

from typing import Protocol

from clients.library.packets import CodesPacket, LostPacket, Packet
from clients.session.uplink import LinkCounters


class Lasting(Protocol):
    """A session that may go on over another connection."""

    @property
    def is_away(self) -> bool: ...

    @property
    def returns(self) -> int: ...

    @property
    def publisher_is_away(self) -> bool: ...

    @property
    def frames_dropped(self) -> int: ...

    @property
    def frames_skipped(self) -> int: ...

    @property
    def frames_lost(self) -> int: ...

    @property
    def frames_repaired(self) -> int: ...


class Losses:
    """Counts the losses of one session into ``counters``, as they become known."""

    def __init__(self, session: Lasting, counters: LinkCounters) -> None:
        self.session = session
        self._counters = counters
        self._returns = self._dropped = self._skipped = self._lost = self._repaired = 0
        self._lacks_detail = False

    @property
    def trouble(self) -> str:
        """A sentence on the connection for the user; empty where it is there."""
        if self.session.is_away:
            return "connection lost, coming back"
        if self.session.publisher_is_away:
            return "publisher away"
        return "link too slow: no detail comes" if self._lacks_detail else ""

    def count_up(self) -> None:
        """Counts the frames that were lost on their way to the server."""
        before, self._dropped = self._dropped, self.session.frames_dropped
        self._counters.dropped += self._dropped - before
        self._count_returns()

    def count_down(self, packet: Packet) -> int:
        """Counts what was lost before a packet that has come or is to be heard; returns the frames
        that went with a connection."""
        self._count_packet(packet)
        before, self._skipped = self._skipped, self.session.frames_skipped
        new = self._skipped - before
        self._counters.skipped += new
        before, self._lost = self._lost, self.session.frames_lost
        self._counters.lost += self._lost - before
        before, self._repaired = self._repaired, self.session.frames_repaired
        self._counters.repaired += self._repaired - before
        self._count_returns()
        return new

    def _count_packet(self, packet: Packet) -> None:
        if isinstance(packet, LostPacket):
            self._counters.concealed += packet.frames
        elif isinstance(packet, CodesPacket) and not packet.repaired:
            self._lacks_detail = packet.layers is not None
            self._counters.reduced_in += packet.codes.shape[1] * self._lacks_detail

    def _count_returns(self) -> None:
        before, self._returns = self._returns, self.session.returns
        self._counters.returns += self._returns - before
