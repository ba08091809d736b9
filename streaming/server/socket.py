"""A client's socket with bounds on all that the WebSocket library and the system queue for it.

The library answers every ping at once, into a buffer without end; takes a read of 256 KB apart in
one go, which may be 40,000 frames; and asks nobody whether a paused client has gone. Each of that
has a bound here. Whatever is over a bound stops the reading of the socket, so that TCP slows the
sender down.
"""

from __future__ import annotations

import asyncio
import socket as sockets
from contextlib import suppress
from functools import partial
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import State

from streaming.server.pace import Allowance
from streaming.wire.transport import repeat_soon, since_acknowledged, unacknowledged

SLICE = 512
"""Bytes taken apart at a time: at most 86 frames, about half a millisecond."""
TURN_FRAMES, TURN_BYTES = 32, 64 * 1024
"""After so much one connection lets the others have their turn."""
EXTRAS_RATE, EXTRAS_BURST = 200.0, 50.0
"""Frames a second that are no messages: pings, pongs, all but the last piece of a message."""
MAX_PIECES = 64
"""Most frames that a message may come in."""
MAX_QUEUE = 2, 0
"""Messages that wait for the session: reading stops above the first, goes on at the second."""
WRITE_MOST = 64 * 1024
"""Bytes waiting for the socket above which the client is not read: so are its pings, whose answers
would come on top."""
KERNEL_SEND = 128 * 1024
KERNEL_UNSENT = 16 * 1024
"""Bytes that the system keeps for a client: in all, and not yet sent. The queue is then where its
length is known, and not behind it."""
KERNEL_RECEIVE = 128 * 1024
"""Bytes of a client that is not read which the system takes."""
CLOSE_GRACE = 2.0
"""Seconds that a client has to hang up after the close was agreed on, or it broke the protocol."""
TCP_CLOSED, TCP_CLOSE_WAIT = 7, 8
"""States in Linux' ``tcp_info``: reset, and the other end has sent its last byte."""


class ServerSocket(ServerConnection):
    """One WebSocket; what :func:`websockets.asyncio.server.serve` makes of a connection."""

    lossy = False
    can_break = True
    """Whether messages may be lost on the way."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._unread = bytearray()
        self._turn_due = False
        self._closes = False
        self._holds: set[str] = set()
        self._was_held = False
        self._received = 0
        self._pongs = 0
        self._frames = 0
        self._extras = 0
        self._pieces = 0
        self._allowance = Allowance(EXTRAS_RATE, EXTRAS_BURST, self.loop.time)

    # ------------------------------------------------------------------------ what a session asks

    @property
    def received(self) -> int:
        """Reads that brought anything, so far."""
        return self._received

    @property
    def pongs(self) -> int:
        """Answers to pings, so far."""
        return self._pongs

    @property
    def waiting(self) -> int:
        """Bytes that wait for the socket."""
        return self.transport.get_write_buffer_size()

    @property
    def outstanding(self) -> int:
        """Bytes handed over that the client's system has not acknowledged, as far as ours tells."""
        return self.waiting + unacknowledged(self._socket)

    @property
    def ended_in_order(self) -> bool:
        """Whether the client has agreed on the end."""
        return self.protocol.close_rcvd is not None

    def close_slowly(self) -> None:
        """Lets ``close`` wait for the client as long as it takes."""
        self.close_timeout = None

    def was_acknowledged(self, seconds: float) -> bool:
        """Whether the client's system has acknowledged anything in the last ``seconds``, read or
        not. Knows on Linux, True elsewhere."""
        age = since_acknowledged(self._socket)
        return age is None or age <= seconds

    def read_since_last_look(self) -> bool:
        """Whether nothing has held up the reading since the last call."""
        held, self._was_held = self._was_held or bool(self._holds), False
        return not held

    def has_hung_up(self, *, reset: bool) -> bool:
        """Whether the client is gone though its last words are unread. ``reset``: only if what it
        sent is lost too. Knows on Linux, False elsewhere."""
        return self._tcp_state() in ((TCP_CLOSED,) if reset else (TCP_CLOSED, TCP_CLOSE_WAIT))

    def send_now(self, message: bytes) -> None:
        """Hands over a message, whatever waits; nothing where the connection has ended."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_binary(message)
            self.send_data()

    def ask(self) -> None:
        """Sends a ping, unless there is too much before it."""
        if self.protocol.state is State.OPEN and self.waiting < WRITE_MOST:
            self.protocol.send_ping(b"")
            self.send_data()

    def make_room(self) -> None:
        """Lets the system take what was held back: a last word reaches a client that reads on
        after the connection is closed."""
        self._set(sockets.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", KERNEL_SEND)

    def drop(self, event: bytes, close_code: int) -> None:
        """Closes the connection now, with a last message if it can be written without waiting."""
        if self.protocol.state is State.OPEN and not self.waiting:
            self.protocol.send_binary(event)
            self.protocol.send_close(close_code)
            self.send_data()
        if self.waiting:
            self.transport.abort()
        else:
            self.transport.close()

    # ------------------------------------------------------------------- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._socket = transport.get_extra_info("socket")
        self._set(sockets.SOL_SOCKET, "SO_SNDBUF", KERNEL_SEND)
        self._set(sockets.SOL_SOCKET, "SO_RCVBUF", KERNEL_RECEIVE)
        self._set(sockets.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", KERNEL_UNSENT)
        repeat_soon(self._socket)
        self.recv_messages.pause = partial(self._hold, "queue")
        self.recv_messages.resume = partial(self._release, "queue")

    def data_received(self, data: bytes) -> None:
        self._received += 1
        if len(data) <= SLICE and not self._holds:
            self._take_apart(data)
            return
        if self._holds:
            # uvloop reads on where ``connection_made`` has paused it.
            self.transport.pause_reading()
        self._unread += data
        if not self._turn_due:
            self._take_turn()

    def eof_received(self) -> None:
        while self._unread:
            self._take_apart(self._cut())
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unread.clear()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._release("writes")

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame):
            self._frames += 1
            if event.opcode not in DATA_OPCODES or not event.fin:
                self._extras += 1
            if event.opcode is Opcode.PONG:
                self._pongs += 1
            elif event.opcode in DATA_OPCODES:
                self._count_piece(event.fin)
        super().process_event(event)

    # -------------------------------------------------------------------------------------- inside

    def _take_turn(self) -> None:
        """Takes apart what was read, until it is all, a bound is met, or it is others' turn."""
        self._turn_due = False
        self._frames = taken = 0
        while self._unread and not self._holds - {"unread"}:
            if taken >= TURN_BYTES or self._frames >= TURN_FRAMES:
                self._come_again()
                break
            piece = self._cut()
            taken += len(piece)
            self._take_apart(piece)
        if self._unread:
            self._hold("unread")
        else:
            self._release("unread")

    def _come_again(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self.loop.call_soon(self._take_turn)

    def _cut(self) -> bytes:
        piece = bytes(self._unread[:SLICE])
        del self._unread[:SLICE]
        return piece

    def _take_apart(self, data: bytes) -> None:
        self._extras = 0
        super().data_received(data)
        if not self._closes and self.protocol.close_expected():
            # The other end is to hang up now; one that does not is cut off.
            self._closes = True
            self.loop.call_later(CLOSE_GRACE, self.transport.abort)
        if self._extras:
            debt = self._allowance.owe(self._extras)
            if debt > 0:
                self._hold("extras")
                self.loop.call_later(debt, self._release, "extras")
        if self.waiting > WRITE_MOST:
            self._hold("writes")

    def _count_piece(self, last: bool) -> None:
        self._pieces = 0 if last else self._pieces + 1
        if self._pieces > MAX_PIECES:
            self.protocol.fail(1009, f"a message comes in at most {MAX_PIECES} frames")
            self.send_data()

    def _hold(self, reason: str) -> None:
        self._was_held = True
        if not self._holds and not self.transport.is_closing():
            self.transport.pause_reading()
        self._holds.add(reason)

    def _release(self, reason: str) -> None:
        if reason not in self._holds:
            return
        self._holds.remove(reason)
        if not self._holds:
            if not self.transport.is_closing():
                self.transport.resume_reading()
        elif self._holds == {"unread"}:
            # Not at once: this may be called while the library is at work.
            self._come_again()

    def _tcp_state(self) -> int:
        if self._socket is None or not hasattr(sockets, "TCP_INFO"):
            return 0
        with suppress(OSError, ValueError):  # closed meanwhile
            return int(self._socket.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, 1)[0])
        return TCP_CLOSED

    def _set(self, level: int, option: str, value: int) -> None:
        number = getattr(sockets, option, None)
        if self._socket is not None and number is not None:
            with suppress(OSError, ValueError):
                self._socket.setsockopt(level, number, value)
