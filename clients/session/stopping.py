"""Work that has a deadline once it was told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


async def until_stopped(
    work: Coroutine[Any, Any, None], stop: asyncio.Event, patience: Callable[[], float]
) -> bool:
    """Runs the work, and gives it up when ``stop`` is set and the seconds of ``patience``, asked
    for then, are over. Returns whether it is done, or had none; raises what it raises."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        allowed = patience()
        if not task.done():
            await asyncio.wait({task}, timeout=allowed)
        if task.done():
            task.result()
            return True
        return not allowed
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
