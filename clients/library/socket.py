"""The client's WebSocket: opening one, by way of a proxy and TLS; counting what comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import InvalidHandshake, ProxyError

from clients.library.addresses import is_quic, proxy_for
from clients.library.certificates import client_context
from clients.library.refusals import explain_failure, explain_handshake
from facodec.extras import need
from streaming.wire import protocol
from streaming.wire.transport import repeat_soon, unacknowledged

if TYPE_CHECKING:
    from clients.library.quic import QuicClientSocket

OPEN_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
MAX_MESSAGE = 1 << 20
FRAME_BYTES, TLS_BYTES = 6, 22
"""Bytes that WebSocket and TLS add to a message, or nearly."""


class ClientSocket(ClientConnection):
    """A WebSocket that counts what comes in: ``received`` reads so far, whatever they bring, and
    the ``bytes_received`` by them."""

    lossy = False
    """Whether messages may be lost on the way."""
    received = bytes_received = 0

    def data_received(self, data: bytes) -> None:
        self.received += 1
        self.bytes_received += len(data)
        super().data_received(data)

    @property
    def unacknowledged(self) -> int:
        """Bytes handed over whose arrival the other end has not acknowledged, headers of WebSocket
        and TLS included."""
        here = self.transport.get_write_buffer_size()
        return here + unacknowledged(self.transport.get_extra_info("socket"))

    @property
    def overhead(self) -> int:
        """Bytes that are added to each message, or nearly."""
        return FRAME_BYTES + TLS_BYTES * (self.transport.get_extra_info("ssl_object") is not None)


AnySocket: TypeAlias = "ClientSocket | QuicClientSocket"
"""A connection to a server, as a session uses it."""


async def open_socket(
    url: str, token: str | None, ca: str | None, *, datagrams: bool = True
) -> AnySocket:
    """Connects to a server, up to the upgrade to a WebSocket, or over QUIC; ``datagrams``: whether
    codes may then be lost. Raises ConnectError, UsageError for certificates that cannot be used,
    and MissingExtra."""
    if is_quic(url):
        need("quic")
        from clients.library.quic import open_quic

        return await open_quic(url, ca, datagrams=datagrams, timeout=OPEN_TIMEOUT)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    tls = client_context(url, ca)
    proxy = proxy_for(url)
    try:
        socket = await websocket_connect(
            url,
            create_connection=ClientSocket,
            proxy=proxy,
            subprotocols=list(protocol.VERSIONS),  # type: ignore[arg-type]
            additional_headers=headers,
            ssl=tls,
            compression=None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=None,  # watched by Session, which asks for the time
            max_size=MAX_MESSAGE,
        )
    except ProxyError as error:
        raise explain_failure(url, proxy, error) from error
    except InvalidHandshake as error:
        raise explain_handshake(url, error) from error
    except Exception as error:  # also ImportError and what else a proxy of any kind brings
        raise explain_failure(url, proxy, error) from error
    assert isinstance(socket, ClientSocket)
    repeat_soon(socket.transport.get_extra_info("socket"))
    return socket
