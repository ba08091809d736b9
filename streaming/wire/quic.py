"""Messages over a QUIC connection: control on one stream, in order and for sure; codes in datagrams
(RFC 9221), which may be lost or overtake each other. Needs aioquic.

On the stream each message has its length before it. Where either end takes no datagrams, codes go
on the stream too.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic import events
from aioquic.quic.connection import QuicConnection
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.tls import Epoch
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import Close

from streaming.wire.binary import is_codes
from streaming.wire.protocol import COMPACT_SUBPROTOCOL
from streaming.wire.underway import Underway

LENGTH = struct.Struct("<I")
STREAM = 0
"""The first stream that a client opens, the only one there is."""
LARGEST_DATAGRAM = 1000
"""Bytes of a message that is sure to fit a packet of any path; codes beyond it go on the stream."""
FRAME_SIZE = 1200
"""Bytes of a datagram's frame that each end says it takes."""
MOST_PENDING = 64
"""Datagrams that wait for the path; the oldest give way, as what is late is worth least."""
HIGH = 16 * 1024
"""Bytes on the stream that the path has not taken above which a sender waits."""
MOST_UNREAD = 128 * 1024
"""Bytes that wait for the reader, above which packets are dropped: that slows the sender down."""
WINDOW = 128 * 1024
"""Bytes that may be on the way at once, at first: aioquic lets them become ever more."""
MOST_APART = 2 * WINDOW
"""Bytes of the stream that are kept while some before them are missing."""
IDLE = 30.0
"""Seconds without a packet after which either end takes the connection for lost."""
CLOSE_TIMEOUT = 2.0
"""Seconds that the other end has to acknowledge the last messages."""
TOO_BIG = 1009
LOGGER = "quic"
"""Name of aioquic's own log. Whoever ends a connection is told why, and it needs no line there."""
ABNORMAL = 1006


class QuicSocket(QuicConnectionProtocol):
    """One connection, as sessions use a WebSocket. ``largest``: bytes of a message that may come,
    ``first``: of the first one."""

    subprotocol = COMPACT_SUBPROTOCOL
    overhead = 0
    """Bytes that count for each message that is not acknowledged, beside its own."""

    def __init__(
        self, quic: QuicConnection, stream_handler: Any = None, *, largest: int, first: int
    ) -> None:
        super().__init__(quic, stream_handler)
        self.received = self.bytes_received = 0
        """Packets that came, so far."""
        self.pongs = 0
        """Answers to pings, so far."""
        self.terminated: events.ConnectionTerminated | None = None
        """Event that ended the connection."""
        self.connection_lost_waiter: asyncio.Future[None] = self._loop.create_future()
        self._largest, self._most = largest, first
        self._stream_data = bytearray()
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._changed = asyncio.Event()
        self._written = 0
        self._underway = Underway(self.overhead)
        self._finishing = False
        self._end: ConnectionClosed | None = None
        self._pings = 0

    # ------------------------------------------------------------------------ what a session asks

    @property
    def lossy(self) -> bool:
        """Whether codes go in datagrams both ways: both ends have said that they take some."""
        return (
            self._quic.configuration.max_datagram_frame_size is not None
            and (self._quic._remote_max_datagram_frame_size or 0) >= FRAME_SIZE
        )

    @property
    def transport(self) -> QuicSocket:
        """Itself, which does what a transport is asked for."""
        return self

    @property
    def unacknowledged(self) -> int:
        """Bytes of messages handed over that wait for the path, or are on it and not acknowledged:
        neither they nor any packet after them. An older one is lost or comes out of order, which
        says nothing of how fast the path takes them."""
        space = self._space
        return self._underway.unacknowledged(-1 if space is None else space.largest_acked_packet)

    @property
    def waiting(self) -> int:
        """Bytes that wait for the path."""
        return self._unsent if self._unsent > HIGH else 0

    @property
    def outstanding(self) -> int:
        """Bytes handed over that the other end has not acknowledged, as far as is known here."""
        return self.unacknowledged

    async def recv(self, decode: bool | None = None) -> bytes:
        """The next message. Raises ConnectionClosed."""
        while not self._unread:
            if self._end is not None:
                raise self._end
            self._changed.clear()
            await self._changed.wait()
        message = self._unread.popleft()
        self._unread_bytes -= _weight(message)
        return message

    async def send(self, message: bytes) -> None:
        """Hands over a message, when there is room for it. Raises ConnectionClosed."""
        while self._end is None and self.waiting:
            self._changed.clear()
            await self._changed.wait()
        if self._end is not None:
            raise self._end
        self.send_now(message)

    def send_now(self, message: bytes) -> None:
        """Hands over a message, whatever waits; nothing where the connection has ended."""
        if self._end is not None or self._finishing:
            return
        if len(message) <= LARGEST_DATAGRAM and is_codes(message) and self.lossy:
            self._quic.send_datagram_frame(message)
            self._underway.add_datagram(len(message))
            pending = self._quic._datagrams_pending
            while len(pending) > MOST_PENDING:
                pending.popleft()
                self._underway.drop_oldest()
        elif self._quic.configuration.is_client or STREAM in self._quic._streams:
            # A client that has opened no stream is told by the close alone.
            self._quic.send_stream_data(STREAM, LENGTH.pack(len(message)) + message)
            self._written += LENGTH.size + len(message)
            self._underway.add_to_stream(len(message), self._written)
        self._transmit_soon()

    async def close(self, code: int = 1000, reason: str = "") -> None:  # type: ignore[override]
        """Ends the connection when what was handed over has arrived, or that takes too long."""
        deadline = self._loop.time() + CLOSE_TIMEOUT
        stream = self._quic._streams.get(STREAM)
        if self._end is None and stream is not None and not self._finishing:
            self._finishing = True
            self._quic.send_stream_data(STREAM, b"", end_stream=True)
            self._transmit_soon()
        while self._end is None and stream is not None and not stream.sender.is_finished:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - self._loop.time())
            except asyncio.TimeoutError:
                break
        self.end(code, reason)

    def end(self, code: int, reason: str = "") -> None:
        """Ends the connection now."""
        if self._end is None:
            super().close(code, reason)
            self._has_ended(None)

    def abort(self) -> None:
        """Ends the connection as if it had been lost."""
        self.end(ABNORMAL)

    def hang_up(self) -> None:
        """Ends the connection, and gives its own UDP socket back."""
        self.end(1000)
        for due in (self._timer, self._transmit_task):
            if due is not None:
                due.cancel()
        if self._transport is not None:
            self._transport.close()

    # ------------------------------------------------------------------------- what aioquic calls

    def transmit(self) -> None:
        super().transmit()
        waiting, space = len(self._quic._datagrams_pending), self._space
        newest = next(reversed(space.sent_packets), -1) if space is not None else -1
        self._underway.note_sent(waiting, self._sent_on_stream, newest)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        self.received += 1
        self.bytes_received += len(data)
        super().datagram_received(data, addr)
        self._check_streams()
        if not self._changed.is_set():
            self._changed.set()  # something may have been acknowledged

    def quic_event_received(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.DatagramFrameReceived):
            if is_codes(event.data):
                self._arrived(event.data)
        elif isinstance(event, events.StreamDataReceived):
            self._on_stream_data(event)
        elif isinstance(event, events.PingAcknowledged):
            self.pongs += 1
        elif isinstance(event, events.ConnectionTerminated):
            self.terminated = event
            told = event.frame_type is None and event.error_code != ABNORMAL
            self._has_ended(Close(event.error_code, event.reason_phrase) if told else None)

    # -------------------------------------------------------------------------------------- inside

    @property
    def _space(self) -> QuicPacketSpace | None:
        """Packets with the keys of messages."""
        return self._quic._spaces.get(Epoch.ONE_RTT)

    @property
    def _sent_on_stream(self) -> int:
        """Bytes on the stream that have been sent, once at least; all, when it is over."""
        stream = self._quic._streams.get(STREAM)
        return self._written if stream is None else stream.sender.highest_offset

    @property
    def _unsent(self) -> int:
        """Bytes on the stream that have not been sent yet."""
        return self._written - self._sent_on_stream

    @property
    def _is_full(self) -> bool:
        return self._unread_bytes > MOST_UNREAD

    def _on_stream_data(self, event: events.StreamDataReceived) -> None:
        if event.stream_id != STREAM:
            return  # which ends it
        data = self._stream_data
        data += event.data
        while len(data) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(data)
            if size > self._most:
                self.end(TOO_BIG, f"expected a message of at most {self._most} bytes, got {size}")
                return
            if len(data) < LENGTH.size + size:
                break
            self._arrived(bytes(data[LENGTH.size : LENGTH.size + size]))
            del data[: LENGTH.size + size]
            self._most = self._largest
        if event.end_stream:
            self._on_stream_end()

    def _on_stream_end(self) -> None:
        """The other end sends nothing more; the close is to follow."""

    def _check_streams(self) -> None:
        """Ends a connection of which much is kept that nothing is made of."""
        streams = self._quic._streams
        if len(streams) > 1:
            self.end(1002, "expected one stream, got another")
        elif STREAM in streams and len(streams[STREAM].receiver._buffer) > MOST_APART:
            self.end(TOO_BIG, f"expected at most {MOST_APART} bytes after a gap, got more")

    def _arrived(self, message: bytes) -> None:
        self._unread.append(message)
        self._unread_bytes += _weight(message)
        self._changed.set()

    def _has_ended(self, told: Close | None) -> None:
        if self._end is None:
            self._end = ConnectionClosedError(told, None)
            self._changed.set()
            if not self.connection_lost_waiter.done():
                self.connection_lost_waiter.set_result(None)


def _weight(message: bytes) -> int:
    """Bytes that a message counts for where it waits."""
    return len(message) + 128
