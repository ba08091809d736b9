"""Events of a server's life in its log, one line each: sessions that begin and end, refusals."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from streaming.wire.protocol import Hello

log = logging.getLogger(__name__)

MOST_TEXT = 200
"""Characters of what a client chose that are written."""


def event(name: str, kind: str = "", level: int = logging.INFO, **fields: Any) -> None:
    """A line with these fields. ``kind``: lines of one name whose number is bounded apart."""
    kept = {
        key: value[:MOST_TEXT] if isinstance(value, str) else value
        for key, value in fields.items()
        if value is not None
    }
    log.log(level, name, extra={"fields": kept, "kind": kind})


def refused(address: str, status: int, path: str | None, why: str) -> None:
    """A request was answered with something other than what it asked for."""
    event("request refused", str(status), address=address, status=status, path=path, why=why)


class SessionJournal:
    """Lines about one session: a start and an end, or a refusal where it did not start.

    ``token_name``: says which token it has shown. ``clock``: seconds."""

    def __init__(
        self,
        identity: str,
        address: str,
        clock: Callable[[], float],
    ) -> None:
        self._who: dict[str, Any] = {"id": identity, "address": address}
        self._clock = clock
        self._began: float | None = None

    @property
    def admitted(self) -> dict[str, Any] | None:
        """Fields of the session: who and where, and the seconds since it was admitted; None
        before."""
        if self._began is None:
            return None
        return {**self._who, "seconds": round(self._clock() - self._began, 3)}

    def start(self, hello: Hello, token_name: str | None) -> None:
        """The session has been admitted."""
        self._began = self._clock()
        self._who = {**self._who, "role": hello.role}
        if hello.room is not None:
            self._who["room"] = hello.room
        event("session started", **self._who, model=hello.model, token=token_name)

    def note(self, name: str, **fields: Any) -> None:
        """Something has happened to the session; ``fields`` hold from here on."""
        self._who = {**self._who, **fields}
        event(name, **self._who)

    def end(self, frames_in: int, frames_out: int, why: str) -> None:
        """The connection is over. ``why``: the reason, or the code of an error."""
        if self._began is None:
            event("session refused", why, **self._who, why=why)
            return
        event(
            "session ended",
            **self._who,
            frames_in=frames_in,
            frames_out=frames_out,
            seconds=round(self._clock() - self._began, 3),
            why=why,
        )
