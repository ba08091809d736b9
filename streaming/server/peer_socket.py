"""A client's connection, whatever carries it, as its session uses it."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Abortable(Protocol):
    """Transport of a connection."""

    def abort(self) -> None:
        """Drops the connection without a word."""


class PeerSocket(Protocol):
    """Messages both ways, and signs of life. ``send``, ``recv`` and ``close`` are those of a
    WebSocket of the library, and raise its ConnectionClosed."""

    @property
    def subprotocol(self) -> str | None: ...

    @property
    def lossy(self) -> bool:
        """Whether codes may be lost on the way."""

    @property
    def transport(self) -> Abortable: ...

    @property
    def connection_lost_waiter(self) -> asyncio.Future[None]:
        """Done when the connection has ended."""

    @property
    def received(self) -> int:
        """Reads that brought anything, so far."""

    @property
    def pongs(self) -> int:
        """Answers to pings, so far."""

    @property
    def waiting(self) -> int:
        """Bytes that wait to be sent."""

    @property
    def outstanding(self) -> int:
        """Bytes handed over that the client's system has not acknowledged, as far as ours tells."""

    async def recv(self) -> str | bytes: ...

    async def send(self, message: bytes, /) -> None: ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...

    def send_now(self, message: bytes) -> None:
        """Hands over a message, whatever waits; nothing where the connection has ended."""

    def read_since_last_look(self) -> bool:
        """Whether nothing has held up the reading since the last call."""

    def has_hung_up(self, *, reset: bool) -> bool:
        """Whether the client is gone though its last words are unread. ``reset``: only if what it
        sent is lost too."""

    def ask(self) -> None:
        """Sends a ping, unless there is too much before it."""

    def make_room(self) -> None:
        """Lets the system take what was held back."""

    def drop(self, event: bytes, close_code: int) -> None:
        """Closes the connection now, with a last message if that can be sent without waiting."""
