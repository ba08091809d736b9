"""Queue of messages to one client, and the coroutine that sends them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

OVERHEAD = 4
"""Bytes that WebSocket adds to a message, or nearly."""


class Outbox:
    """Messages in order, counted in frames of media; one without any counts as one.

    Bounded by its owner: a session stops reading its client while :attr:`frames` is high, and a
    listener of a room is dropped when it gets too high. ``clock``: monotonic seconds.
    ``send_now``: hands a message to a socket that is idle, without a task having to wake up for
    it; False from one that is not, and the message waits here.
    """

    def __init__(self, clock: Callable[[], float], send_now: Callable[[bytes], bool]) -> None:
        self._clock = clock
        self._send_now = send_now
        self._messages: deque[tuple[bytes, int]] = deque()
        self._frames = 0
        self.taken = 0
        """Bytes of messages so far, headers of WebSocket included, or nearly."""
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._sending_since: float | None = None

    @property
    def frames(self) -> int:
        """Frames of media that wait."""
        return self._frames

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(len(data) for data, _ in self._messages)

    def put(self, data: bytes, frames: int = 0) -> None:
        self.taken += len(data) + OVERHEAD
        waits = self._messages or self._sending_since is not None
        if not waits and self._send_now(data):
            return
        weight = max(frames, 1)
        self._messages.append((data, weight))
        self._frames += weight
        self._filled.set()
        self._emptied.clear()

    def clear(self) -> None:
        """Forgets what waits; a message that is being sent still goes out."""
        self._messages.clear()
        self._frames = 0

    def restart(self) -> None:
        """Forgets what waits, and what was being sent: its socket is gone, another follows."""
        self.clear()
        self._sending_since = None
        self._filled.clear()
        self._emptied.set()

    def stuck(self) -> float:
        """Seconds since the message being sent was handed to the socket; 0 when none is."""
        return 0.0 if self._sending_since is None else self._clock() - self._sending_since

    async def emptied(self) -> None:
        """Waits until everything has been handed to the socket."""
        await self._emptied.wait()

    async def send_all(
        self, send: Callable[[bytes], Awaitable[None]], progress: Callable[[], None]
    ) -> None:
        """Sends whatever comes, for ever; ``progress`` is called after each message."""
        while True:
            while self._messages:
                data, weight = self._messages.popleft()
                self._frames -= weight
                self._sending_since = self._clock()
                await send(data)
                self._sending_since = None
                progress()
            self._emptied.set()
            self._filled.clear()
            await self._filled.wait()
