"""Connections as the gate sees them: counted from the first byte to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from websockets.asyncio.server import Server as WebSocketServer
from websockets.server import ServerProtocol

from streaming.addresses import parse_address
from streaming.gate import Gate, Visitor
from streaming.http import RequestParser
from streaming.pace import Allowance
from streaming.wire import Wire

ARRIVALS_RATE, ARRIVALS_BURST = 100.0, 100.0
"""Connections a second whose requests are read at once: each costs a millisecond or two, which
those who are in would wait for."""
LONGEST_QUEUE = 2.0
"""Seconds that a request waits at most because of that."""
SUSPENSE = 1.0
"""Seconds for which a request waits to be read, from an address that has shown wrong tokens."""
HASTE = 1.0
"""Seconds in which one connection too many has to ask, to be told so."""


class Connection(Wire):
    """A client's connection that knows its :class:`Visitor`. Give it to ``serve``, with the
    keywords bound, as ``create_connection``.

    ``arrivals``: what all connections of a server share. ``on_refusal``: is told of every refusal's
    status and sentence. ``max_size``: bytes a message.
    """

    visitor: Visitor

    def __init__(
        self,
        protocol: ServerProtocol,
        server: WebSocketServer,
        *,
        gate: Gate,
        arrivals: Allowance,
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self.visitor = self._gate.arrive(parse_address(peer[0]) if peer else None)
        if self.visitor.is_one_too_many:
            self.loop.call_later(HASTE, self._turn_away)
        super().connection_made(transport)
        wait = min(LONGEST_QUEUE, self._arrivals.owe(1.0))
        if self.visitor.is_suspect:
            # To refuse guesses as fast as they come would cost those who are in.
            wait += SUSPENSE
        if wait:
            self._hold("arrival")
            self.loop.call_later(wait, self._release, "arrival")

    def connection_lost(self, exc: Exception | None) -> None:
        self.visitor.leave()
        super().connection_lost(exc)

    def _turn_away(self) -> None:
        self.transport.abort()
