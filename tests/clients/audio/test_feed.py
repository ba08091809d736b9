"""Sources that outlive sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from clients.audio.feed import TOO_LATE, Feed
from clients.audio.microphone import Block
from clients.errors import DeviceError
from facodec.reasons import FileError


class Blocks:
    """A source of numbered blocks, one captured each second."""

    name = "blocks"
    overruns = 0

    def __init__(self, count: int, *, live: bool, error: Exception | None = None) -> None:
        self.live = live
        self.given = 0
        self._count = count
        self._error = error

    async def blocks(self) -> AsyncIterator[Block]:
        for number in range(self._count):
            self.given += 1
            yield Block(np.full(200, number, np.float32), captured=float(number))
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


async def take_all(feed: Feed) -> list[int]:
    got = []
    while (block := await feed.get()) is not None:
        got.append(int(block.samples[0]))
    assert await feed.get() is None  # the end stays the end
    return got


def test_a_file_waits_for_its_reader_and_loses_nothing() -> None:
    async def work() -> None:
        source = Blocks(100, live=False)
        feed = Feed(source, clock=lambda: 1e9)
        await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert source.given < 15  # bounded
        feed.start_afresh()
        assert await take_all(feed) == list(range(100))
        await feed.close()

    asyncio.run(work())


def test_what_a_microphone_heard_too_long_ago_is_skipped() -> None:
    async def work() -> None:
        feed = Feed(Blocks(10, live=True), clock=lambda: 5.0 + TOO_LATE)
        assert await take_all(feed) == [6, 7, 8, 9]
        assert feed.skipped == 6
        await feed.close()

    asyncio.run(work())


def test_a_session_starts_with_what_is_said_now() -> None:
    async def work() -> None:
        feed = Feed(Blocks(10, live=True), clock=lambda: 0.0)
        feed.start_afresh()
        assert await take_all(feed) == list(range(1, 10))
        await feed.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    "error", [DeviceError("unplugged"), FileError("damaged"), RuntimeError("a fault")]
)
def test_a_source_that_fails_is_reported_after_its_last_block(error: Exception) -> None:
    """Whatever it raises: nobody may wait for ever."""

    async def work() -> None:
        feed = Feed(Blocks(3, live=True, error=error), clock=lambda: -1.0)
        for _ in range(3):
            assert await feed.get() is not None
        with pytest.raises(type(error), match=str(error)):
            await asyncio.wait_for(feed.get(), 10)
        await feed.close()

    asyncio.run(work())


def test_closing_ends_a_pump_that_waits() -> None:
    async def work() -> None:
        feed = Feed(Blocks(1000, live=False))
        await feed.close()

    asyncio.run(work())
