"""A source that outlives connections: blocks wait here while one session follows another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from clients.audio.endpoints import Source
from clients.audio.microphone import Block

WAITING = 8
"""Blocks between pump and sender. Policy when full: the pump waits, so a file waits too, and a
microphone's own ring decides what is lost."""
TOO_LATE = 0.5
"""Age, s, beyond which a microphone's sound is not sent any more: nobody wants to hear what was
said during an outage all at once."""


class Feed:
    """Pumps a source in a task of its own; whoever has a session takes blocks by :meth:`get`."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self.skipped = 0
        self._source = source
        self._clock = clock
        self._queue: asyncio.Queue[Block | None] = asyncio.Queue(WAITING)
        self._not_before = float("-inf")
        self._ended = False
        self._error: Exception | None = None
        self._pump = asyncio.create_task(self._run())

    @property
    def live(self) -> bool:
        """Whether what it gives is being spoken now."""
        return self._source.live

    def start_afresh(self) -> None:
        """A session begins: what a microphone heard before it is not sent any more."""
        self._not_before = self._clock()

    async def get(self) -> Block | None:
        """The next block, None after the last. Raises what the source raised."""
        while not self._ended:
            block = await self._queue.get()
            if block is None:
                self._ended = True
            elif not self._source.live or block.captured > self._oldest():
                return block
            else:
                self.skipped += 1
        if self._error is not None:
            raise self._error
        return None

    def _oldest(self) -> float:
        return max(self._not_before, self._clock() - TOO_LATE)

    async def close(self) -> None:
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)

    async def _run(self) -> None:
        try:
            async for block in self._source.blocks():
                await self._queue.put(block)
        except Exception as error:  # whoever takes blocks would wait for ever
            self._error = error
        await self._queue.put(None)
