"""One connection of a session, which may have several, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Protocol

from websockets.exceptions import ConnectionClosed

from streaming.server.ending import Ending
from streaming.server.gate import Visitor
from streaming.server.liveness import Pulse, Standstill
from streaming.server.peer_socket import PeerSocket
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import ProtocolError

log = logging.getLogger(__name__)


class Owner(Protocol):
    """The session of a link."""

    def on_error(self, link: Link, error: ProtocolError) -> None:
        """The client, or the server, did something wrong."""

    def on_hang_up(self, link: Link, *, in_order: bool) -> None:
        """The connection is over. ``in_order``: one end has said so."""

    def on_lost(self, link: Link) -> None:
        """The connection is closed, though some of what came may not be read yet."""


class Link:
    """A connection: its socket, the tasks that read and write it, and how it ends. ``visitor``:
    where the client comes from and what it may do."""

    def __init__(
        self, socket: PeerSocket, visitor: Visitor, settings: ServerSettings, now: float
    ) -> None:
        self.socket = socket
        self.visitor = visitor
        self.is_lost = False
        """Whether the connection is closed."""
        self._pulse = Pulse(socket, settings, now)
        self._standstill = Standstill(now)
        self._ending: asyncio.Future[Ending | None]
        self._ending = asyncio.get_running_loop().create_future()
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def writer(self) -> asyncio.Future[None]:
        """The task that writes, once it is served."""
        if self._writer is None:
            raise RuntimeError("serve the link first")
        return self._writer

    @property
    def ended_in_order(self) -> bool:
        """Whether the client has agreed on the end."""
        return self.socket.ended_in_order

    async def serve(
        self, read: Coroutine[None, None, None], write: Coroutine[None, None, None], owner: Owner
    ) -> Ending | None:
        """Reads and writes until the end: that of the session, or None where it goes on without
        this connection. What is to be written still is."""
        self._reader = asyncio.ensure_future(self._guard(read, owner))
        self._writer = asyncio.ensure_future(self._guard(write, owner))

        def on_lost(_: object) -> None:
            self.is_lost = True
            owner.on_lost(self)

        self.socket.connection_lost_waiter.add_done_callback(on_lost)
        try:
            return await self._ending
        finally:
            self._reader.cancel()

    def end(self, ending: Ending | None) -> None:
        """Ends :meth:`serve`; the first call counts."""
        if not self._ending.done():
            self._ending.set_result(ending)

    def stop_reading(self) -> None:
        """Leaves unread whatever comes from here on."""
        if self._reader is not None:
            self._reader.cancel()

    def stop(self) -> None:
        """Cancels what is left of its tasks."""
        for task in (self._reader, self._writer):
            if task is not None:
                task.cancel()

    def stuck(self, now: float, stuck: float) -> float:
        """Seconds for which nothing has been taken, twice a second asked. ``stuck``: since the
        last message was handed to the socket."""
        return min(stuck, self._standstill.look(now, self.socket.outstanding))

    def check(self, now: float, *, listens: bool, in_room: bool) -> None:
        """Looks whether the client is still there, see :class:`Pulse`."""
        self._pulse.check(now, listens=listens, in_room=in_room)

    async def _guard(self, work: Coroutine[None, None, None], owner: Owner) -> None:
        """Tells the owner whatever ends the work."""
        try:
            await work
        except ProtocolError as error:
            owner.on_error(self, error)
        except ConnectionClosed as error:
            in_order = error.rcvd is not None or error.sent is not None
            owner.on_hang_up(self, in_order=in_order)
        except Exception:
            log.exception("a connection failed")
            owner.on_error(self, ProtocolError("internal", "the server failed in this session"))
