"""Ending a connection: its close code and reason, and the last words to its client."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed

from streaming.server.liveness import Standstill
from streaming.server.outbox import Outbox
from streaming.server.peer_socket import PeerSocket
from streaming.wire import protocol
from streaming.wire.protocol import ProtocolError

GOODBYE = 2.0
"""Seconds a failed client has to take its error event, and any to agree on the end once it has all,
before its socket is cut."""
LOOK = 0.25
"""Seconds from one look at a closing connection to the next."""


@dataclass(frozen=True)
class Ending:
    """Close of a connection; ``last`` goes out in place of all that still waits."""

    close_code: int
    reason: str = ""
    last: bytes | None = None

    @property
    def is_good(self) -> bool:
        """Whether all that was asked for has been done."""
        return self.close_code == 1000 and not self.reason

    @classmethod
    def of(cls, error: ProtocolError) -> Ending:
        """The ending of a client that is told what went wrong."""
        return cls(error.close_code, error.code, error_event(error))


def error_event(error: ProtocolError) -> bytes:
    """The message that tells a client what went wrong."""
    return protocol.encode(protocol.Error(error.code, error.sentence))


class Farewell:
    """Patience with a client that is to take its last bytes and agree on the end. A link that is
    slow takes something now and then, however long that goes on. Monotonic seconds; ``patience``:
    for one that takes nothing."""

    def __init__(self, patience: float, now: float) -> None:
        self._patience = patience
        self._standstill = Standstill(now)
        self._agreed_by: float | None = None

    def is_over(self, now: float, outstanding: int) -> bool:
        """Whether to wait no more. ``outstanding``: bytes that the client has not acknowledged."""
        still = self._standstill.look(now, outstanding)
        # While there are none it is not the link that is waited for.
        if not outstanding:
            self._agreed_by = now + GOODBYE if self._agreed_by is None else self._agreed_by
            return now >= self._agreed_by
        self._agreed_by = None
        return still > self._patience


async def say_goodbye(
    ending: Ending,
    socket: PeerSocket,
    outbox: Outbox,
    writer: asyncio.Future[None],
    patience: float,
) -> None:
    """Closes a connection once what waits has been sent and taken, or its ``writer`` has ended.
    ``patience``: seconds for which a client may take nothing of it."""
    longest: float | None = None
    if ending.last is not None:
        socket.make_room()
        outbox.clear()
        outbox.put(ending.last)
        longest = patience = GOODBYE
    emptied = asyncio.ensure_future(outbox.emptied())
    await asyncio.wait({emptied, writer}, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
    emptied.cancel()
    # The library would cut the connection off two seconds after the last byte was written, when
    # a slow link still has to carry two seconds of sound.
    socket.close_slowly()
    clock = asyncio.get_running_loop().time
    closing = asyncio.ensure_future(_close(socket, ending))
    farewell = Farewell(patience, clock())
    try:
        while not closing.done():
            await asyncio.wait({closing}, timeout=LOOK)
            if not closing.done() and farewell.is_over(clock(), socket.outstanding):
                socket.transport.abort()
                await closing
    finally:
        closing.cancel()


async def _close(socket: PeerSocket, ending: Ending) -> None:
    with contextlib.suppress(ConnectionClosed):
        await socket.close(ending.close_code, ending.reason)
