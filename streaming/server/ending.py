"""Ending a connection: its close code and reason, and the last words to its client."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed

from streaming.server.outbox import Outbox
from streaming.server.peer_socket import PeerSocket
from streaming.wire import protocol
from streaming.wire.protocol import ProtocolError

GOODBYE = 2.0
"""Seconds a failed client has to take its error event before its socket is cut."""


@dataclass(frozen=True)
class Ending:
    """Close of a connection; ``last`` goes out in place of all that still waits."""

    close_code: int
    reason: str = ""
    last: bytes | None = None

    @classmethod
    def of(cls, error: ProtocolError) -> Ending:
        """The ending of a client that is told what went wrong."""
        return cls(error.close_code, error.code, error_event(error))


def error_event(error: ProtocolError) -> bytes:
    """The message that tells a client what went wrong."""
    return protocol.encode(protocol.Error(error.code, error.sentence))


async def say_goodbye(
    ending: Ending, socket: PeerSocket, outbox: Outbox, writer: asyncio.Future[None]
) -> None:
    """Closes a connection once what waits has been sent, or its ``writer`` has ended."""
    patience: float | None = None
    if ending.last is not None:
        socket.make_room()
        outbox.clear()
        outbox.put(ending.last)
        patience = GOODBYE
    emptied = asyncio.ensure_future(outbox.emptied())
    await asyncio.wait({emptied, writer}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    emptied.cancel()
    with contextlib.suppress(ConnectionClosed):
        await socket.close(ending.close_code, ending.reason)
