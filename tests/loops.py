"""An event loop in a thread of its own, for servers beside what blocks: browsers, command lines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

PATIENCE = 60.0


class LoopThread:
    """Runs until it is closed; what is still running then is cancelled, as ``asyncio.run`` does."""

    def __init__(self) -> None:
        self._running: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._until_closed()))
        self._thread.start()
        self._loop = self._running.result(PATIENCE)

    def wait(self, work: Coroutine[Any, Any, object]) -> None:
        """Runs a coroutine there to its end."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join()

    async def _until_closed(self) -> None:
        self._closed = asyncio.Event()
        self._running.set_result(asyncio.get_running_loop())
        await self._closed.wait()
