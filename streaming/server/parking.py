"""Sessions whose connections broke, kept for a while: their clients may come back for them.

A parked session computes nothing and takes no place of anybody's. How many there may be, and how
much they may keep, is bounded in all and for each address; where there are too many, the address
that has most of them gives up the one that has carried least, so that who opens sessions only to
break them off drives out his own.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Protocol

MOST_PARKED, MOST_OF_ADDRESS = 64, 32
"""Parked sessions, in all and of one address."""
MOST_BYTES = 64 << 20
"""Bytes that parked sessions keep for their clients, in all."""


class Lasting(Protocol):
    """A session that may outlive its connection."""

    @property
    def address(self) -> str:
        """Address of its client when it was last there."""

    @property
    def kept_bytes(self) -> int:
        """Bytes that it keeps for its client."""

    @property
    def carried(self) -> int:
        """Frames that it has taken and given so far."""

    def expire(self) -> None:
        """Nobody comes back for it."""

    def shut_down(self) -> None:
        """The server is going away."""


class Parking:
    """All sessions that may come back, by a secret, and those that are parked. ``seconds``: that
    one waits for its client. ``clock``: monotonic seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lasting: dict[str, tuple[str, Lasting]] = {}
        # In order of arrival, as dicts are.
        self._parked: dict[Lasting, float] = {}

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def parked(self) -> list[Lasting]:
        """Sessions that wait for their clients, the oldest first."""
        return list(self._parked)

    def register(self, session: Lasting, token: str | None = None) -> str:
        """The secret by which the session is found again: a new one, or one that another had."""
        token = token or f"{secrets.token_urlsafe(9)}.{secrets.token_urlsafe(16)}"
        name, _, secret = token.partition(".")
        self._lasting[name] = secret, session
        return token

    def find(self, token: str) -> Lasting | None:
        """The session of a secret; None where there is none."""
        name, _, secret = token.partition(".")
        known, session = self._lasting.get(name, ("", None))
        fits = hmac.compare_digest(known.encode(), secret.encode())
        return session if fits else None

    def park(self, session: Lasting) -> None:
        """The session waits for its client from now on, unless it has to go at once."""
        self._parked[session] = self._clock() + self._seconds
        while self._parked and (victim := self._one_too_many()) is not None:
            self._expire(victim)

    def leave(self, session: Lasting) -> None:
        """The client is there again; safe to call for one that is not parked."""
        self._parked.pop(session, None)

    def forget(self, session: Lasting) -> None:
        """The session is over; safe to call again."""
        self.leave(session)
        for name, (_, other) in list(self._lasting.items()):
            if other is session:
                del self._lasting[name]

    def check(self, now: float) -> None:
        """Ends those for which nobody has come in time."""
        for session, until in list(self._parked.items()):
            if now > until:
                self._expire(session)

    def close(self) -> None:
        """Ends all: the server is going away."""
        for session in self.parked:
            self.forget(session)
            session.shut_down()

    def _expire(self, session: Lasting) -> None:
        self.forget(session)
        session.expire()

    def _one_too_many(self) -> Lasting | None:
        """The session that has to go, None where all may stay."""
        counts = Counter(session.address for session in self._parked)
        most = max(counts.values())
        full = len(self._parked) > MOST_PARKED or most > MOST_OF_ADDRESS
        if not full and sum(session.kept_bytes for session in self._parked) <= MOST_BYTES:
            return None
        candidates = (session for session in self._parked if counts[session.address] == most)
        return min(candidates, key=lambda session: session.carried)
