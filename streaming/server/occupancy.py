"""Places on a server: clients to be known yet, listeners, and sessions that compute.

They are counted apart, so that who waits or only listens keeps nobody from speaking, and who has
not said what it wants keeps nobody out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from streaming.wire.protocol import ProtocolError

SMALLEST = 1 / 4
"""Share of a session's place that one takes whose codes go out as codes: its client encodes and
decodes, and what is left to do here is some arithmetic."""


class Guest(Protocol):
    """A connection."""

    @property
    def trusted(self) -> bool:
        """Whether it has shown a token."""

    def give_way(self) -> None:
        """Ends the connection at once: somebody newer needs its place."""


class Occupancy:
    """Occupants of the places of one server. ``computing``: sessions that the machine holds, now.
    ``listeners``: people in all rooms. ``unknown``: connections that have not said hello."""

    def __init__(self, computing: Callable[[], int], listeners: int, unknown: int) -> None:
        self._most_computing = computing
        self._most_listeners = listeners
        self._most_unknown = unknown
        # In order of arrival, as dicts are.
        self._unknown: dict[Guest, None] = {}
        self._computing: dict[Guest, float] = {}
        self._listeners: set[Guest] = set()

    @property
    def computing(self) -> int:
        return len(self._computing)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    @property
    def unknown(self) -> int:
        return len(self._unknown)

    @property
    def are_taken(self) -> bool:
        """Whether a newcomer could neither compute nor listen."""
        full = not self._has_room(SMALLEST)
        return full and self.listeners >= self._most_listeners

    def enter(self, guest: Guest) -> None:
        """A connection. Where there are too many without a hello, the oldest without a token gives
        way: whoever holds one always gets in."""
        if len(self._unknown) >= self._most_unknown:
            oldest = next((one for one in self._unknown if not one.trusted), None)
            leaver = oldest or next(iter(self._unknown))
            del self._unknown[leaver]
            leaver.give_way()
        self._unknown[guest] = None

    def admit(self, guest: Guest, *, listens: bool, share: float = 1.0) -> None:
        """The guest has said hello. ``share``: of a session's place that it takes. Raises
        ProtocolError("overloaded")."""
        if listens and self.listeners >= self._most_listeners:
            sentence = f"all {self._most_listeners} places for listeners are taken"
            raise ProtocolError("overloaded", sentence)
        if not listens and not self._has_room(share):
            raise ProtocolError("overloaded", f"all {self._most_computing()} sessions are taken")
        self._unknown.pop(guest, None)
        if listens:
            self._listeners.add(guest)
        else:
            self._computing[guest] = share

    def _has_room(self, share: float) -> bool:
        return sum(self._computing.values()) + share <= self._most_computing()

    def leave(self, guest: Guest) -> None:
        """Gives its place back; safe to call again."""
        self._unknown.pop(guest, None)
        self._computing.pop(guest, None)
        self._listeners.discard(guest)
