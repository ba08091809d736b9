"""QUIC beside the WebSocket: the same sessions, counted, made to wait and refused as those are.
Needs aioquic, of the extra ``quic``."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from aioquic.asyncio.server import QuicServer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from streaming.server.connections import REQUEST_TIMEOUT, Arrival, Arrivals, OnRefusal
from streaming.server.gate import Visitor
from streaming.server.http import FIRST_MESSAGE, Refusal
from streaming.server.outbox import OVERHEAD
from streaming.server.pace import Allowance
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import COMPACT_SUBPROTOCOL
from streaming.wire.quic import FRAME_SIZE, IDLE, LOGGER, WINDOW, QuicSocket
from streaming.wire.refusal import close_reason

HANDSHAKE_RATE, HANDSHAKE_BURST = 300.0, 150.0
"""Packets of handshakes a second, and at once, that are looked at for all."""
PACKET_RATE, PACKET_BURST = 1000.0, 256.0
"""Packets of one client a second, and at once, that are decrypted; a frame each would be 80."""
MOST_EARLY = 8
"""Packets that are kept of a connection whose turn has not come."""
LONG_HEADER = 0x80
"""Bit of a packet's first byte while the ends agree on keys."""


class QuicPeerSocket(QuicSocket):
    """A client's connection, from its first packet on. ``arrivals``: counts it; ``on_open``: is
    called when both ends have agreed on keys."""

    overhead = OVERHEAD

    def __init__(
        self,
        quic: QuicConnection,
        stream_handler: Any = None,
        *,
        arrivals: Arrivals,
        on_open: Callable[[QuicPeerSocket], None],
        largest: int,
    ) -> None:
        super().__init__(quic, stream_handler, largest=largest, first=FIRST_MESSAGE)
        self._arrivals, self._on_open = arrivals, on_open
        self._arrival: Arrival | None = None
        self._address: Any = None
        self._early: deque[tuple[bytes, Any]] | None = deque(maxlen=MOST_EARLY)
        self._allowance = Allowance(PACKET_RATE, PACKET_BURST, self._loop.time)
        self._dropped = False
        self._deadline = self._loop.call_later(REQUEST_TIMEOUT, self.abort)
        self.connection_lost_waiter.add_done_callback(self._has_gone)

    # ------------------------------------------------------------------------ what a session asks

    @property
    def arrival(self) -> Arrival:
        """Its arrival, counted from its first packet on."""
        assert self._arrival is not None
        return self._arrival

    @property
    def visitor(self) -> Visitor:
        return self.arrival.visitor

    def get_extra_info(self, name: str) -> Any:
        """Returns the address that the client came from as ``peername``."""
        return self._address if name == "peername" else None

    can_break = False
    """A session ends with its connection, which outlives a change of network."""
    ended_in_order = True

    def was_acknowledged(self, seconds: float) -> bool:
        """Whether the client's system has acknowledged anything lately, which is not looked at."""
        return True

    def close_slowly(self) -> None:
        """Nothing: what was sent last is waited for by QUIC itself."""

    def read_since_last_look(self) -> bool:
        """Whether no packet was dropped since the last call."""
        dropped, self._dropped = self._dropped, False
        return not dropped

    def has_hung_up(self, *, reset: bool) -> bool:
        """Whether the client is gone though its last words are unread: a close is always read."""
        return False

    def ask(self) -> None:
        """Sends a ping."""
        if self._end is None:
            self._pings += 1
            self._quic.send_ping(self._pings)
            self._transmit_soon()

    def make_room(self) -> None:
        """Nothing is held back here that a last word would wait behind."""

    def drop(self, event: bytes, close_code: int) -> None:
        """Closes the connection soon, with a last message."""
        self.send_now(event)
        self._closing = asyncio.ensure_future(self.close(close_code))

    def end(self, code: int, reason: str = "") -> None:
        """Ends the connection now; without a word where none of its packets was read."""
        if self._early is None:
            super().end(code, reason)
        else:
            self._connection_terminated_handler()
            self._has_ended(None)

    # ------------------------------------------------------------------------- what aioquic calls

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        assert isinstance(data, bytes)
        if self._arrival is None:
            self._arrive(addr)
        if self._early is not None:
            self._early.append((data, addr))
        elif self._is_full or not self._allowance.covers(1.0):
            self._dropped = True
        else:
            super().datagram_received(data, addr)

    def quic_event_received(self, event: events.QuicEvent) -> None:
        super().quic_event_received(event)
        if isinstance(event, events.HandshakeCompleted):
            self._deadline.cancel()
            self._on_open(self)

    # -------------------------------------------------------------------------------------- inside

    def _on_stream_end(self) -> None:
        self.end(1000)

    def _arrive(self, address: Any) -> None:
        self._address = address
        self._arrival = self._arrivals.enter(self, self.abort)
        # To agree on keys costs as much as a request, and hides its token: all are strangers here.
        wait = self._arrival.asks(None)
        if wait:
            self._loop.call_later(wait, self._begin)
        else:
            self._early = None

    def _begin(self) -> None:
        """Its turn has come."""
        if self._end is not None:
            return
        early, self._early = self._early, None
        for data, address in early or ():
            super().datagram_received(data, address)

    def _has_gone(self, _: object) -> None:
        self._deadline.cancel()
        if self._arrival is not None:
            self._arrival.has_gone()


class _Listener(QuicServer):
    """The port of all connections. Handshakes have a rate, so that who comes does not hold up those
    who are in."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._allowance = Allowance(HANDSHAKE_RATE, HANDSHAKE_BURST, self._loop.time)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        assert isinstance(data, bytes)
        if data and (not data[0] & LONG_HEADER or self._allowance.covers(1.0)):
            super().datagram_received(data, addr)

    def close(self) -> None:
        """Ends all connections, and listens no more."""
        for protocol in set(self._protocols.values()):
            assert isinstance(protocol, QuicPeerSocket)
            protocol.abort()
        if self._transport is not None:
            self._transport.close()


class QuicDoor:
    """Serves clients over QUIC. ``refuse``: why a visitor may not come in, None where it may;
    ``serve``: a session over its connection; ``on_refusal``: is told of refusals."""

    def __init__(
        self,
        arrivals: Arrivals,
        refuse: Callable[[Visitor], Refusal | None],
        serve: Callable[[QuicPeerSocket], Coroutine[Any, Any, None]],
        on_refusal: OnRefusal,
    ) -> None:
        self._arrivals, self._refuse = arrivals, refuse
        self._serve, self._on_refusal = serve, on_refusal
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._listener: _Listener | None = None

    @property
    def port(self) -> int:
        """The port that was really taken."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    async def open(self, settings: ServerSettings, largest: int) -> None:
        """Listens at the settings' host and port for QUIC, with their certificate. ``largest``:
        bytes of a message. Raises OSError."""
        logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
        host, port = settings.host or "::", settings.quic_port or 0
        make = partial(
            QuicPeerSocket, arrivals=self._arrivals, on_open=self._on_open, largest=largest
        )
        listener = partial(
            _Listener, configuration=_configuration(settings), create_protocol=make, retry=True
        )
        try:
            (
                self._transport,
                self._listener,
            ) = await asyncio.get_running_loop().create_datagram_endpoint(
                listener, local_addr=(host, port)
            )
        except OSError as error:
            raise OSError(
                f"cannot listen at {host} port {port} (UDP): {error.strerror or error}; "
                "choose another with --quic-port or --host"
            ) from error

    def close(self) -> None:
        """Stops listening; connections that are left end."""
        if self._listener is not None:
            self._listener.close()

    def _on_open(self, socket: QuicPeerSocket) -> None:
        refusal = self._refuse(socket.visitor)
        if refusal is not None:
            self._on_refusal(socket.visitor, None, refusal.status, refusal.sentence)
            told = close_reason(refusal.sentence, refusal.headers.get("Retry-After"))
            socket.end(refusal.status, told)
            return
        task = asyncio.get_running_loop().create_task(self._serve(socket))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _configuration(settings: ServerSettings) -> QuicConfiguration:
    configuration = QuicConfiguration(
        alpn_protocols=[COMPACT_SUBPROTOCOL],
        is_client=False,
        idle_timeout=IDLE,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        max_datagram_frame_size=FRAME_SIZE,
    )
    certificate = settings.tls_cert or ""
    configuration.load_cert_chain(certificate, settings.tls_key)
    if configuration.private_key is None:  # in the same file, before the certificate
        configuration.load_cert_chain(certificate, certificate)
    return configuration
