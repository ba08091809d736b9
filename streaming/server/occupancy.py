"""Places on a server: clients to be known yet, and those of each kind of session.

They are counted apart, so that who waits or only listens keeps nobody from speaking, and who has
not said what it wants keeps nobody out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from streaming.server.places import Place
from streaming.wire.protocol import ProtocolError

SMALLEST = 1 / 4
"""Share of a session's place that one takes whose codes come back as codes: its client encodes
and decodes, and what is left to do here is some arithmetic."""


class Guest(Protocol):
    """A connection."""

    @property
    def trusted(self) -> bool:
        """Whether it has shown a token."""

    def give_way(self) -> None:
        """Ends the connection at once: somebody newer needs its place."""


class Occupancy:
    """Occupants of the places of one server. ``computing``: sessions that the machine holds, now.
    ``publishers``: of codes that are only passed on; ``listeners``: people in all rooms;
    ``unknown``: connections that have not said hello."""

    def __init__(
        self, computing: Callable[[], int], publishers: int, listeners: int, unknown: int
    ) -> None:
        self._most_computing = computing
        self._most_publishers = publishers
        self._most_listeners = listeners
        self._most_unknown = unknown
        # In order of arrival, as dicts are.
        self._unknown: dict[Guest, None] = {}
        self._computing: dict[Guest, float] = {}
        self._publishers: set[Guest] = set()
        self._listeners: set[Guest] = set()

    @property
    def computing(self) -> int:
        return len(self._computing)

    @property
    def publishers(self) -> int:
        return len(self._publishers)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    @property
    def unknown(self) -> int:
        return len(self._unknown)

    @property
    def are_taken(self) -> bool:
        """Whether there is no place left of any kind."""
        return (
            self._used() + SMALLEST > self._most_computing()
            and self.publishers >= self._most_publishers
            and self.listeners >= self._most_listeners
        )

    def enter(self, guest: Guest) -> None:
        """A connection. Where there are too many without a hello, the oldest without a token gives
        way: whoever holds one always gets in."""
        if len(self._unknown) >= self._most_unknown:
            oldest = next((one for one in self._unknown if not one.trusted), None)
            leaver = oldest or next(iter(self._unknown))
            del self._unknown[leaver]
            leaver.give_way()
        self._unknown[guest] = None

    def admit(self, guest: Guest, place: Place, share: float = 1.0) -> None:
        """The guest takes a place, perhaps beside another. ``share``: of a session's place. Raises
        ProtocolError("overloaded")."""
        if place == "listener":
            if self.listeners >= self._most_listeners:
                raise _taken(f"{self._most_listeners} places for listeners")
            self._listeners.add(guest)
        elif place == "publisher":
            if self.publishers >= self._most_publishers:
                raise _taken(f"{self._most_publishers} places for publishers of codes")
            self._publishers.add(guest)
        else:
            if self._used(but=guest) + share > self._most_computing():
                raise _taken(f"{self._most_computing()} sessions")
            self._computing[guest] = share
        self._unknown.pop(guest, None)

    def stop_computing(self, guest: Guest) -> None:
        """Gives the place of a session back, and keeps others; safe to call again."""
        self._computing.pop(guest, None)

    def leave(self, guest: Guest) -> None:
        """Gives all its places back; safe to call again."""
        self._unknown.pop(guest, None)
        self._computing.pop(guest, None)
        self._publishers.discard(guest)
        self._listeners.discard(guest)

    def crowd(self, guest: Guest) -> int:
        """Guests of its kind, itself included, where nothing is computed for it; else 1."""
        for kind in (self._publishers, self._listeners):
            if guest in kind:
                return len(kind)
        return 1

    def _used(self, but: Guest | None = None) -> float:
        return sum(share for guest, share in self._computing.items() if guest is not but)


def _taken(what: str) -> ProtocolError:
    return ProtocolError("overloaded", f"all {what} are taken")
