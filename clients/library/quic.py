"""The client's end of a QUIC connection: opening one. Needs aioquic, of the extra ``quic``."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicErrorCode

from clients.errors import ConnectError, ServerUnreachable
from clients.library.addresses import check_address, without_secrets
from clients.library.certificates import client_context
from clients.library.refusals import explain_early_close, explain_failure
from streaming.wire.protocol import COMPACT_SUBPROTOCOL
from streaming.wire.quic import FRAME_SIZE, IDLE, LOGGER, WINDOW, QuicSocket

MAX_MESSAGE = 1 << 20
OVERHEAD = 32
"""Bytes that QUIC adds to a message in a packet of its own, or nearly."""
CERTIFICATE_ALERTS = range(42, 49)
"""TLS' reasons that are about certificates."""


class QuicClientSocket(QuicSocket):
    """A connection to a server."""

    overhead = OVERHEAD

    async def close(self, code: int = 1000, reason: str = "") -> None:  # type: ignore[override]
        """Ends the connection, and gives its UDP socket back."""
        await super().close(code, reason)
        self.hang_up()


async def open_quic(
    url: str, ca: str | None, *, datagrams: bool, timeout: float
) -> QuicClientSocket:
    """Connects to a server, ``datagrams``: to send and take codes in them, which may be lost.
    Raises ConnectError, and UsageError for certificates that cannot be used."""
    server = check_address(url)
    client_context(url, ca)  # which says what is wrong with the certificates
    logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
    connection = QuicConnection(configuration=_configuration(server.host, ca, datagrams))
    made: QuicClientSocket | None = None

    def make() -> QuicClientSocket:
        return QuicClientSocket(connection, largest=MAX_MESSAGE, first=MAX_MESSAGE)

    try:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
        family, _, _, _, address = infos[0]
        # Not connected: the way may lead over another network by and by.
        _, made = await loop.create_datagram_endpoint(make, family=family)
        made.connect(address)
        await asyncio.wait_for(made.wait_connected(), timeout)
    except BaseException as error:
        if made is not None:
            made.hang_up()
        if not isinstance(error, (OSError, asyncio.TimeoutError)):
            raise
        raise _explained(url, error, made) from error
    return made


def _configuration(host: str, ca: str | None, datagrams: bool) -> QuicConfiguration:
    made = QuicConfiguration(
        alpn_protocols=[COMPACT_SUBPROTOCOL],
        is_client=True,
        idle_timeout=IDLE,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        max_datagram_frame_size=FRAME_SIZE if datagrams else None,
        server_name=host,
    )
    if ca is None:
        system = ssl.get_default_verify_paths()
        made.load_verify_locations(system.cafile, system.capath)
        return made
    made.load_verify_locations(ca)
    return made


def _explained(
    url: str, error: OSError | asyncio.TimeoutError, made: QuicClientSocket | None
) -> ConnectError:
    """The sentence for a connection that did not come about."""
    place, told = without_secrets(url), None if made is None else made.terminated
    if told is None or not isinstance(error, ConnectionError):
        return explain_failure(url, None, error)
    if told.frame_type is None:
        refusal = explain_early_close(url, told.error_code, told.reason_phrase)
        if refusal is not None:
            return refusal
    if told.error_code - QuicErrorCode.CRYPTO_ERROR in CERTIFICATE_ALERTS:
        return ServerUnreachable(
            f"the server at {place} does not prove that it is the right one "
            f"({told.reason_phrase}): give the certificate it should be signed by with --ca"
        )
    return ServerUnreachable(f"cannot connect to {place}: {told.reason_phrase or 'refused'}")
