"""Connections as the gate sees them: counted from the first byte, of TLS too, to the last."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ssl import SSLContext
from typing import Any

from websockets.asyncio.server import Server as WebSocketServer
from websockets.server import ServerProtocol

from streaming.server.addresses import key_of, parse_address
from streaming.server.gate import Gate, Visitor
from streaming.server.http import RequestParser
from streaming.server.pace import Allowance
from streaming.server.socket import ServerSocket

ARRIVALS_RATE, ARRIVALS_BURST = 100.0, 100.0
"""Connections a second whose requests are read at once: each costs a millisecond or two, which
those who are in would wait for."""
LONGEST_QUEUE = 2.0
"""Seconds that a request waits at most because of that."""
MOST_ARRIVING = 256
"""Connections that are no WebSocket yet: each takes a descriptor, of which a process may have
few."""
SUSPENSE = 1.0
"""Seconds for which a request waits to be read, from an address that has shown wrong tokens."""
HASTE = 1.0
"""Seconds in which one connection too many has to ask, to be told so."""
HANDSHAKE_TIMEOUT, CLOSE_TIMEOUT = 10.0, 2.0
"""Seconds that a client has to agree on TLS, and on its end."""


class Arrivals(Allowance):
    """The rate of all connections of a server, and those of them whose request has not been
    answered with a WebSocket yet. Of these there are at most :data:`MOST_ARRIVING`: where one more
    comes, the oldest of the address that has most of them gives way, so that many from elsewhere
    drive nobody out before its request was read."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        super().__init__(rate, burst, clock)
        # In order of arrival, as dicts are; of each address too.
        self._all: dict[Connection, None] = {}
        self._by_address: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, connection: Connection) -> None:
        """One more."""
        if len(self._all) >= MOST_ARRIVING:
            most = max(self._by_address.values(), key=len)
            oldest = next(iter(most))
            self.leave(oldest)
            oldest.give_up()
        self._all[connection] = None
        self._by_address.setdefault(connection.arrived_from, {})[connection] = None

    def leave(self, connection: Connection) -> None:
        """Takes note that it has become a WebSocket, or has gone; safe to call again."""
        if connection not in self._all:
            return
        del self._all[connection]
        own = self._by_address[connection.arrived_from]
        del own[connection]
        if not own:
            del self._by_address[connection.arrived_from]


class Connection(ServerSocket):
    """A client's connection that knows its :class:`Visitor`.

    ``arrivals``: what all connections of a server share. ``on_refusal``: is told of every refusal's
    status and sentence. ``max_size``: bytes a message.
    """

    visitor: Visitor
    arrived_from: str
    """Address, as those are told apart; a proxy's where it came by one."""

    def __init__(
        self,
        protocol: ServerProtocol,
        server: WebSocketServer,
        *,
        gate: Gate,
        arrivals: Arrivals,
        on_refusal: Callable[[Connection, int, str], None],
        max_size: int,
        **options: Any,
    ) -> None:
        parser = RequestParser(
            subprotocols=protocol.available_subprotocols,
            max_size=max_size,
            logger=protocol.logger,
        )
        parser.on_refusal = partial(on_refusal, self)
        super().__init__(parser, server, **options)
        self._gate = gate
        self._arrivals = arrivals

    def arrive(self, transport: asyncio.BaseTransport, end: Callable[[], object]) -> float:
        """Counts the connection. ``end``: ends it at once. Returns the seconds for which it is not
        to be read."""
        peer = transport.get_extra_info("peername")
        address = parse_address(peer[0]) if peer else None
        self.visitor = self._gate.arrive(address)
        self.arrived_from = key_of(address)
        self._end = end
        self._arrivals.enter(self)
        if self.visitor.is_one_too_many:
            self.loop.call_later(HASTE, self.give_up)
        wait = self._arrivals.owe(1.0, LONGEST_QUEUE)
        if self.visitor.is_suspect:
            # To refuse guesses as fast as they come would cost those who are in.
            wait += SUSPENSE
        return wait

    def has_arrived(self) -> None:
        """Takes note that it is a WebSocket now."""
        self._arrivals.leave(self)

    def give_up(self) -> None:
        """Ends it at once."""
        self._end()

    def has_gone(self) -> None:
        """The connection is lost."""
        self._arrivals.leave(self)
        self.visitor.leave()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        abort = transport.abort  # type: ignore[attr-defined]
        wait = 0.0
        if hasattr(self, "visitor"):  # over TLS it has arrived long ago
            self._end = abort
        else:
            wait = self.arrive(transport, abort)
        super().connection_made(transport)
        if wait:
            self._hold("arrival")
            self.loop.call_later(wait, self._release, "arrival")

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_gone()
        super().connection_lost(exc)


class Handshake(asyncio.Protocol):
    """A client that has yet to agree on TLS: counted and made to wait like any other, as nobody
    could tell by its connection that it never does. Then its :class:`Connection` takes over.

    The transport it comes with is given up at once, without a byte read, and the socket gets
    another when it is its turn: uvloop reads whatever ``connection_made`` has paused, and TLS would
    miss its beginning.
    """

    def __init__(self, connection: Connection, context: SSLContext) -> None:
        self._connection = connection
        self._context = context
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        client = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        client.setblocking(False)
        transport.abort()  # type: ignore[attr-defined]
        wait = self._connection.arrive(transport, self._give_up)
        self._task = self._connection.loop.create_task(self._agree(client, wait))

    def _give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _agree(self, client: socket.socket, wait: float) -> None:
        connection = self._connection
        timeouts = {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT}
        if sys.version_info >= (3, 11):
            timeouts["ssl_shutdown_timeout"] = CLOSE_TIMEOUT
        agreed = False
        try:
            await asyncio.sleep(wait)
            with suppress(OSError):  # any end of TLS is one, a connection that went as well
                await connection.loop.connect_accepted_socket(
                    lambda: connection, client, ssl=self._context, **timeouts
                )
                agreed = True
        finally:
            if not agreed:
                client.close()
                connection.has_gone()


def accept(
    protocol: ServerProtocol, server: WebSocketServer, *, tls: SSLContext | None, **options: Any
) -> asyncio.Protocol:
    """The first protocol that a new client talks to; give it to ``serve`` as ``create_connection``
    with the keywords of :class:`Connection` bound, and ``tls`` in place of its ``ssl``."""
    connection = Connection(protocol, server, **options)
    return connection if tls is None else Handshake(connection, tls)
