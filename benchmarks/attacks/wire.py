"""A bare WebSocket client that may misbehave: it sends whatever it is told and reads when it likes.

Client libraries keep to the protocol; an attacker does not.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import msgpack

from streaming.wire.protocol import SUBPROTOCOL

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
PATIENCE = 8.0
"""Seconds that a server has to answer a request."""
OWNER, STRANGER = "127.0.0.2", "127.0.0.66"
"""Addresses that clients come from: Linux answers to all of 127.0.0.0/8, so that an attacker's need
not be that of those he disturbs. Elsewhere all come from 127.0.0.1."""


@dataclass(frozen=True)
class Target:
    """A server, and the address that its client comes from."""

    host: str
    port: int
    address: str = OWNER
    token: str | None = None

    @classmethod
    def of(cls, url: str, **facts: Any) -> Target:
        """The server of a ws:// address."""
        parts = urlsplit(url)
        return cls(parts.hostname or "", parts.port or 80, **facts)

    def coming_from(self, address: str) -> Target:
        return replace(self, address=address)

    def bound_socket(self, receive_buffer: int | None = None) -> socket.socket:
        """A TCP socket at the client's address, not connected yet."""
        made = socket.socket()
        if receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            made.bind((self.address, 0))
        except OSError:
            made.close()
            made = socket.socket()
        made.setblocking(False)
        return made


class RefusedError(Exception):
    """The server answered the handshake with another status than 101; 0 for none at all."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused {status}")
        self.status = status


class Wire:
    """One connection after its handshake. Nothing it sends is checked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, target: Target, *headers: str, receive_buffer: int | None = None) -> Wire:
        """Connects and shakes hands, with the token in the header where there is one. Raises
        RefusedError, or OSError (TimeoutError too) where nobody answers."""
        reader, writer = await connect(target, receive_buffer)
        try:
            writer.write(handshake(target, *headers))
            head = await asyncio.wait_for(_head(reader), PATIENCE)
        except (asyncio.TimeoutError, OSError) as error:
            writer.transport.abort()
            raise OSError(f"no answer: {error}") from error
        if status_of(head) != 101:
            writer.transport.abort()
            raise RefusedError(status_of(head))
        return cls(reader, writer)

    def write(self, message: dict[str, Any] | bytes, opcode: int = BINARY) -> None:
        """Hands a message to the socket, however much waits there."""
        self.writer.write(framed(message, opcode))

    async def send(self, message: dict[str, Any] | bytes, opcode: int = BINARY) -> None:
        """Writes a message, and waits while the socket takes no more. Raises OSError."""
        self.write(message, opcode)
        await self.writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """The next message, None once the connection is closed; pings are left unanswered."""
        while True:
            try:
                first, size = await self.reader.readexactly(2)
                if size == 126:
                    (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                data = await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, OSError):
                return None
            if first & 15 == CLOSE:
                return None
            if first & 15 == BINARY:
                return dict(msgpack.unpackb(data))

    async def discard(self) -> int:
        """Reads until the connection is closed: how many bytes came."""
        total = 0
        try:
            while data := await self.reader.read(1 << 16):
                total += len(data)
        except OSError:
            pass
        return total

    async def finish(self) -> None:
        """Reads until the server closes, and closes too."""
        while await self.receive() is not None:
            pass
        self.write(b"", CLOSE)
        self.writer.close()

    def go_deaf(self) -> None:
        """Reads no more: what the server sends fills up the buffers on the way."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def hear_again(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Drops the connection, as a process that dies does."""
        self.writer.transport.abort()


async def connect(
    target: Target, receive_buffer: int | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TCP connection. Raises OSError."""
    made = target.bound_socket(receive_buffer)
    try:
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.sock_connect(made, (target.host, target.port)), PATIENCE)
        return await asyncio.open_connection(sock=made)
    except asyncio.TimeoutError as error:
        made.close()
        raise OSError("no connection") from error
    except OSError:
        made.close()
        raise


async def exchange(target: Target, request: bytes, patience: float = PATIENCE) -> tuple[int, bytes]:
    """Sends bytes: (status, body) of the answer; status 0 where the connection ends, or the
    patience, without one."""
    try:
        reader, writer = await connect(target)
    except OSError:
        return 0, b""
    try:
        writer.write(request)
        head = await asyncio.wait_for(_head(reader), patience)
        if status_of(head) == 101:
            return 101, b""
        return status_of(head), await asyncio.wait_for(reader.read(1 << 20), patience)
    except (asyncio.TimeoutError, OSError):
        return 0, b""
    finally:
        writer.transport.abort()


async def get(target: Target, path: str) -> tuple[int, bytes]:
    """(status, body) of a plain GET, with the target's token."""
    return await exchange(target, request(path, target, "Connection: close"))


def handshake(target: Target, *headers: str, path: str = "/") -> bytes:
    """The request for an upgrade to this protocol; ``headers`` replace those of their name."""
    key = base64.b64encode(os.urandom(16)).decode()
    return request(
        path, target, "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Protocol: {SUBPROTOCOL}", *headers,
    )  # fmt: skip


def request(path: str, target: Target, *headers: str) -> bytes:
    """A GET request; the Host is the target unless ``headers`` have another."""
    own = [f"Host: {target.host}:{target.port}"]
    if target.token is not None:
        own.append(f"Authorization: Bearer {target.token}")
    given = {header.partition(":")[0].lower() for header in headers}
    kept = [header for header in own if header.partition(":")[0].lower() not in given]
    return "\r\n".join([f"GET {path} HTTP/1.1", *kept, *headers, "", ""]).encode("latin-1")


def framed(message: dict[str, Any] | bytes, opcode: int = BINARY) -> bytes:
    """One whole masked frame; the mask is zero, which leaves the data as it is."""
    data = message if isinstance(message, bytes) else msgpack.packb(message)
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + b"\0\0\0\0" + data


def status_of(head: bytes) -> int:
    """The status of an HTTP answer, 0 of anything else."""
    words = head.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return b""
