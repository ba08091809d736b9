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
from typing import Any, Protocol, cast

from websockets.asyncio.server import Server as WebSocketServer
from websockets.server import ServerProtocol

from streaming.server.addresses import key_of, parse_address
from streaming.server.gate import Gate, Visitor
from streaming.server.http import (
    END,
    LONGEST_REQUEST,
    TOO_LONG,
    Refusal,
    RequestParser,
    is_malformed,
    shown_token,
)
from streaming.server.pace import Allowance
from streaming.server.socket import ServerSocket

STRANGERS_RATE, STRANGERS_BURST = 60.0, 30.0
"""Requests a second, and at once, that are read: each costs a millisecond or two, which those who
are in would wait for."""
EXPECTED_RATE, EXPECTED_BURST = 100.0, 8.0
"""Likewise of requests with a token that fits."""
LONGEST_QUEUE = 4.0
"""Seconds that a request waits at most because of that."""
MOST_ARRIVING = 256
"""Connections that are no WebSocket yet: each takes a descriptor, of which a process may have
few."""
REQUEST_TIMEOUT = 10.0
"""Seconds that a client has for its request, and before that for the first byte of TLS."""
SUSPENSE = 1.0
"""Seconds for which a request waits to be read, from an address that has shown wrong tokens."""
HASTE = 1.0
"""Seconds in which one connection too many has to ask, to be told so."""
MOST_REST = 256 * 1024
"""Bytes of a request that was refused for its length which are still read."""
HANDSHAKE_TIMEOUT, CLOSE_TIMEOUT = 10.0, 2.0
"""Seconds that a client has to agree on TLS, and on its end."""

OnRefusal = Callable[[Visitor, "str | None", int, str], None]
"""Told of a refusal: whose, the path that was asked for if known, status, sentence."""


class HasAddress(Protocol):
    """Transport of a connection, as far as it tells where that comes from."""

    def get_extra_info(self, name: str, /) -> Any: ...


class Arrival:
    """A connection from its first moment: whose it is; ``end`` ends it at once."""

    def __init__(self, arrivals: Arrivals, visitor: Visitor, key: str, end: Callable[[], object]):
        self.visitor = visitor
        self.key = key
        self._arrivals = arrivals
        self.give_up = end

    def asks(self, token: str | None) -> float:
        """Seconds for which what it asks, with ``token``, is not to be read."""
        wait = self._arrivals.owe(is_expected=self.visitor.is_expected(token))
        # To refuse guesses as fast as they come would cost those who are in.
        return wait + SUSPENSE if self.visitor.is_suspect else wait

    def has_arrived(self) -> None:
        """Takes note that it is a WebSocket now."""
        self._arrivals.leave(self)

    def has_gone(self) -> None:
        """The connection is lost."""
        self._arrivals.leave(self)
        self.visitor.leave()


class Arrivals:
    """The rate at which a server reads requests, and those connections of which none has been
    answered with a WebSocket yet. Of these there are at most :data:`MOST_ARRIVING`: where one more
    comes, the oldest of the address that has most of them gives way, so that many from elsewhere
    drive nobody out before its request was read. Who says nothing takes nothing of the rate."""

    def __init__(self, gate: Gate, loop: asyncio.AbstractEventLoop) -> None:
        self._strangers = Allowance(STRANGERS_RATE, STRANGERS_BURST, loop.time)
        self._expected = Allowance(EXPECTED_RATE, EXPECTED_BURST, loop.time)
        self._gate = gate
        self._loop = loop
        # In order of arrival, as dicts are; of each address too.
        self._all: dict[Arrival, None] = {}
        self._by_address: dict[str, dict[Arrival, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, transport: HasAddress, end: Callable[[], object]) -> Arrival:
        """One more. ``end``: ends it at once."""
        peer = transport.get_extra_info("peername")
        address = parse_address(peer[0]) if peer else None
        arrival = Arrival(self, self._gate.arrive(address), key_of(address), end)
        if len(self._all) >= MOST_ARRIVING:
            most = max(self._by_address.values(), key=len)
            oldest = next(iter(most))
            self.leave(oldest)
            oldest.give_up()
        self._all[arrival] = None
        self._by_address.setdefault(arrival.key, {})[arrival] = None
        if arrival.visitor.is_one_too_many:
            self._loop.call_later(HASTE, arrival.give_up)
        return arrival

    def owe(self, *, is_expected: bool) -> float:
        """Takes a request from the rate; the seconds that it has to wait."""
        allowance = self._expected if is_expected else self._strangers
        return allowance.owe(1.0, LONGEST_QUEUE)

    def leave(self, arrival: Arrival) -> None:
        """Takes note that it has become a WebSocket, or has gone; safe to call again."""
        if arrival not in self._all:
            return
        del self._all[arrival]
        own = self._by_address[arrival.key]
        del own[arrival]
        if not own:
            del self._by_address[arrival.key]


class Connection(ServerSocket):
    """A client's WebSocket, or its request for one, that knows whose it is. ``max_size``: bytes a
    message."""

    arrival: Arrival
    """Set before the connection is made."""

    def __init__(
        self,
        protocol: ServerProtocol,
        server: WebSocketServer,
        *,
        on_refusal: OnRefusal,
        max_size: int,
        **options: Any,
    ) -> None:
        parser = RequestParser(
            subprotocols=protocol.available_subprotocols,
            max_size=max_size,
            logger=protocol.logger,
        )
        parser.on_refusal = self._tell_refusal
        super().__init__(parser, server, **options)
        self._on_refusal = on_refusal

    @property
    def visitor(self) -> Visitor:
        return self.arrival.visitor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.arrival.give_up = transport.abort  # type: ignore[attr-defined]
        super().connection_made(transport)

    def be_read_after(self, wait: float) -> None:
        """Leaves what comes unread for ``wait`` s."""
        if wait:
            self._hold("arrival")
            self.loop.call_later(wait, self._release, "arrival")

    def connection_lost(self, exc: Exception | None) -> None:
        self.arrival.has_gone()
        super().connection_lost(exc)

    def _tell_refusal(self, status: int, sentence: str) -> None:
        path = None if self.request is None else self.request.path.partition("?")[0]
        self._on_refusal(self.visitor, path, status, sentence)


class Request(asyncio.Protocol):
    """A client until its request is there, whole or malformed: its :class:`Connection` takes over.

    Until then nothing else is made for it: a WebSocket's machinery costs half a millisecond, which
    anybody could have by connecting again and again. ``arrival``: where it has arrived already.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        arrivals: Arrivals,
        on_refusal: OnRefusal,
        arrival: Arrival | None = None,
    ) -> None:
        self._make = make
        self._arrivals = arrivals
        self._on_refusal = on_refusal
        self._known = arrival
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        abort = self._transport.abort
        self._arrival = self._known or self._arrivals.enter(transport, abort)
        self._arrival.give_up = abort
        self._deadline = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT, abort)
        if (client := transport.get_extra_info("socket")) is not None:
            with suppress(OSError):  # gone meanwhile
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LONGEST_REQUEST)

    def data_received(self, data: bytes) -> None:
        self._data += data
        size = self._data.find(END)
        if (len(self._data) if size < 0 else size) > LONGEST_REQUEST:
            self._refuse(TOO_LONG)
        elif size >= 0 or is_malformed(self._data):
            self._hand_over()

    def eof_received(self) -> None:
        if self._data:  # else there is nobody to answer, and the transport closes
            self._hand_over().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._arrival.has_gone()

    def _refuse(self, refusal: Refusal) -> None:
        self._deadline.cancel()
        self._transport.write(refusal.response().serialize())
        self._transport.set_protocol(Rest(self._transport, self._arrival))
        self._on_refusal(self._arrival.visitor, None, refusal.status, refusal.sentence)

    def _hand_over(self) -> Connection:
        self._deadline.cancel()
        connection = self._make()
        connection.arrival = self._arrival
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        if self._known is None:  # else it has waited already
            connection.be_read_after(self._arrival.asks(shown_token(self._data)))
        connection.data_received(self._data)
        return connection


class Rest(asyncio.Protocol):
    """The rest of a refused request: thrown away, up to :data:`MOST_REST`, as to hang up on it
    would have the system throw away the refusal."""

    def __init__(self, transport: asyncio.Transport, arrival: Arrival) -> None:
        self._transport = transport
        self._arrival = arrival
        self._size = 0
        self._deadline = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, transport.abort)
        if transport.can_write_eof():
            transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MOST_REST:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._arrival.has_gone()


class Handshake(asyncio.Protocol):
    """A client that has yet to agree on TLS: counted and made to wait like any other, as nobody
    could tell by its connection that it never does. Then its :class:`Request` takes over.

    The transport it comes with is given up at once, without a byte read, and the socket gets
    another when it is its turn: uvloop reads whatever ``connection_made`` has paused, and TLS would
    miss its beginning.
    """

    def __init__(
        self, make: Callable[[Arrival], Request], arrivals: Arrivals, context: SSLContext
    ) -> None:
        self._make = make
        self._arrivals = arrivals
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        client = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        client.setblocking(False)
        transport.abort()  # type: ignore[attr-defined]
        arrival = self._arrivals.enter(transport, self._give_up)
        self._task = self._loop.create_task(self._agree(client, arrival))

    def _give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _agree(self, client: socket.socket, arrival: Arrival) -> None:
        timeouts = {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT}
        if sys.version_info >= (3, 11):
            timeouts["ssl_shutdown_timeout"] = CLOSE_TIMEOUT
        agreed = False
        try:
            # Any end of TLS is an OSError, a connection that went as well; so is a deadline.
            with suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(_first_byte(self._loop, client), REQUEST_TIMEOUT)
                # TLS costs as much as a request, and hides its token: all are strangers here.
                await asyncio.sleep(arrival.asks(None))
                await self._loop.connect_accepted_socket(
                    partial(self._make, arrival), client, ssl=self._context, **timeouts
                )
                agreed = True
        finally:
            if not agreed:
                client.close()
                arrival.has_gone()


async def _first_byte(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    """Waits until there is something to read, or nothing will ever be."""
    ready = asyncio.Event()
    loop.add_reader(client, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(client)


def accept(
    protocol: ServerProtocol,
    server: WebSocketServer,
    *,
    arrivals: Arrivals,
    on_refusal: OnRefusal,
    tls: SSLContext | None,
    **options: Any,
) -> asyncio.Protocol:
    """The first protocol that a new client talks to; give it to ``serve`` as ``create_connection``
    with the keywords of :class:`Connection` bound, and ``tls`` in place of its ``ssl``.
    ``on_refusal``: is told of every refusal."""
    make = partial(Connection, protocol, server, on_refusal=on_refusal, **options)
    begin = partial(Request, make, arrivals, on_refusal)
    return begin() if tls is None else Handshake(begin, arrivals, tls)
