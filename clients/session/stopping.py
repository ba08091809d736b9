"""Work that has a deadline once it was told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


async def until_stopped(
    work: Coroutine[Any, Any, None], stop: asyncio.Event, patience: Callable[[], float]
) -> bool:
    """Runs the work, and gives it up when ``stop`` is set and the seconds of ``patience`` are over,
    which is asked then, and again whenever they are, until it has none. Returns whether the work is
    done, or was given none at all; raises what it raises."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        first = allowed = patience()
        while not task.done() and allowed:
            await asyncio.wait({task}, timeout=allowed)
            allowed = patience()
        if task.done():
            task.result()
            return True
        return not first
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
