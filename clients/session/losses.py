"""Losses of one session of a live command with its connections."""

from __future__ import annotations

from typing import Protocol

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


class Losses:
    """Counts the losses of one session into ``counters``, as they become known."""

    def __init__(self, session: Lasting, counters: LinkCounters) -> None:
        self.session = session
        self._counters = counters
        self._returns = self._dropped = self._skipped = 0

    @property
    def trouble(self) -> str:
        """A sentence on the connection for the user; empty where it is there."""
        if self.session.is_away:
            return "connection lost, coming back"
        return "publisher away" if self.session.publisher_is_away else ""

    def count_up(self) -> None:
        """Counts the frames that were lost on their way to the server."""
        before, self._dropped = self._dropped, self.session.frames_dropped
        self._counters.dropped += self._dropped - before
        self._count_returns()

    def count_down(self) -> int:
        """Counts the frames that were lost on their way back, and returns the new ones."""
        before, self._skipped = self._skipped, self.session.frames_skipped
        new = self._skipped - before
        self._counters.skipped += new
        self._count_returns()
        return new

    def _count_returns(self) -> None:
        before, self._returns = self._returns, self.session.returns
        self._counters.returns += self._returns - before
