"""The connection of a session, which may be followed by another when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from websockets.exceptions import ConnectionClosed

from clients.errors import ClientError, ConnectionLost, ServerError, ServerUnreachable
from clients.library.socket import AnySocket

WITHIN = 30.0
"""Seconds that a server keeps a session for its client, and this tries to come back."""
FIRST, LONGEST = 0.25, 2.0
"""Seconds of the first wait between two tries, and of the longest: each is twice the last. The
first try is made at once."""
TRY = 10.0
"""Seconds that one try may take."""
RESTART = 3.0
"""Seconds for which nobody may listen at the address, as while a proxy starts again; a server that
is gone has no sessions any more."""


class Returning:
    """Times at which a lost connection is tried again. Monotonic seconds; ``lost``: when it was."""

    def __init__(self, lost: float) -> None:
        self._until = lost + WITHIN
        self._wait = 0.0

    def wait(self, now: float) -> float | None:
        """Seconds until the next try; None where it would be too late."""
        wait, self._wait = self._wait, min(max(FIRST, 2 * self._wait), LONGEST)
        return wait if now + wait < self._until else None

    def age(self, now: float) -> float:
        """Seconds since the connection was lost."""
        return now - self._until + WITHIN

    def patience(self, now: float) -> float:
        """Seconds that a try may take from now on."""
        return max(0.0, min(TRY, self._until - now))


class Owner(Protocol):
    """The session of a connection."""

    async def open_again(self) -> AnySocket:
        """Another connection to the server. Raises ClientError."""

    async def ask_back(self, socket: AnySocket) -> Iterable[bytes]:
        """Comes back to the session over it; returns what is to be sent again. Raises
        ClientError."""

    def tell(self, sentence: str) -> None:
        """Something about the connection, for people."""


class Lifeline:
    """Keeps a session connected. ``clock``: monotonic seconds."""

    def __init__(self, socket: AnySocket, owner: Owner, clock: Callable[[], float]) -> None:
        self.socket = socket
        self.returns = 0
        """Times that the connection was lost, and another came about."""
        self._owner = owner
        self._clock = clock
        self._connected, self._caught_up = asyncio.Event(), asyncio.Event()
        self._connected.set()
        self._caught_up.set()
        self._failure: ClientError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether the connection is lost, and another is tried for."""
        return self._task is not None

    def is_heard(self, socket: AnySocket) -> bool:
        """Whether what comes over a socket counts: the server sends again what came too late."""
        return socket is self.socket and self._connected.is_set()

    async def connected(self) -> AnySocket:
        """The socket to read from, when there is one. Raises ClientError where none comes."""
        await self._connected.wait()
        if self._failure is not None:
            raise self._failure
        return self.socket

    async def caught_up(self) -> AnySocket:
        """The socket to send over, when there is one over which all that the server lacked has
        been sent. Raises ClientError where none comes."""
        await self._caught_up.wait()
        if self._failure is not None:
            raise self._failure
        return self.socket

    def lose(self, socket: AnySocket, reason: ConnectionLost) -> None:
        """A connection broke; another is tried for, unless that is so already."""
        if socket is self.socket:
            self._disconnect()
            if self._task is None:
                self._task = asyncio.create_task(self._come_back(reason))

    async def close(self) -> None:
        """Tries no more, and hangs up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.socket.close()

    def _disconnect(self) -> None:
        self._connected.clear()
        self._caught_up.clear()

    async def _come_back(self, reason: ConnectionLost) -> None:
        self._owner.tell("connection lost, coming back")
        lost = self._clock()
        try:
            self._failure = await self._try(Returning(lost), reason)
        finally:
            self._task = None
            self._connected.set()
            self._caught_up.set()
        if self._failure is None:
            self.returns += 1
            self._owner.tell(f"connected again after {self._clock() - lost:.1f} s")

    async def _try(self, returning: Returning, reason: ConnectionLost) -> ClientError | None:
        """Tries until it is too late or hopeless; returns why."""
        while (wait := returning.wait(self._clock())) is not None:
            await asyncio.sleep(wait)
            before = self.socket
            try:
                await self._connect(returning.patience(self._clock()))
                return None
            except (asyncio.TimeoutError, ConnectionClosed, ConnectionLost):
                self._disconnect()
                if self.socket is not before:  # it was there, and broke again
                    returning = Returning(self._clock())
            except ServerError as error:
                if error.code == "unknown-session":
                    break
                if not error.retryable:
                    return error
            except ServerUnreachable as error:
                if error.none_there and returning.age(self._clock()) > RESTART:
                    break
            except ClientError as error:
                if not getattr(error, "retryable", False):
                    return error
        return reason

    async def _connect(self, patience: float) -> None:
        socket: AnySocket | None = None
        try:

            async def agree() -> Iterable[bytes]:
                nonlocal socket
                socket = await self._owner.open_again()
                return await self._owner.ask_back(socket)

            lacking = await asyncio.wait_for(agree(), patience)
            assert socket is not None
            # What the server sends is read from here on: it may wait for that before it reads.
            self.socket = socket
            self._connected.set()
            for message in lacking:
                await socket.send(message)
        except BaseException:
            if socket is not None:
                socket.transport.abort()
            raise
