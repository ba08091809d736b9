"""A publisher's media, passed on in portions: each goes to all who listen, and a long message to
many of them must not hold up everybody else's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from streaming.server.pace import FanOut
from streaming.wire.media import Coded, split
from streaming.wire.session import Arrived


class Portions:
    """One publisher's. ``pass_on`` is given each portion when its turn has come."""

    def __init__(self, fan_out: FanOut, pass_on: Callable[[Arrived], None]) -> None:
        self._fan_out = fan_out
        self._pass_on = pass_on
        self._waiting: deque[Arrived] = deque()

    async def publish(self, event: Arrived, listeners: int) -> None:
        """Returns when all of it has been passed on, here or by :meth:`hurry`."""
        most = self._fan_out.portion(listeners)
        if not self._waiting and event.before is None and 0 < event.item.frames <= most:
            self._waiting.append(event)  # as most are
            await self._pass_on_all(listeners)
            return
        # A coded packet goes on as it is: to cut it would be to decode it.
        parts = [event.item] if isinstance(event.item, Coded) else split(event.item, most)
        if event.before is not None:
            parts = [*split(event.before, most), *parts]
        self._waiting.extend(replace(event, item=part, before=None) for part in parts)
        await self._pass_on_all(listeners)

    async def _pass_on_all(self, listeners: int) -> None:
        while self._waiting:
            await self._fan_out.spend(self._waiting[0].item.frames, listeners)
            # None is left where the server shuts down meanwhile.
            if self._waiting:
                self._pass_on(self._waiting.popleft())
            if self._waiting:
                await asyncio.sleep(0)

    def hurry(self) -> None:
        """Passes on at once what still waits: the server is going."""
        while self._waiting:
            self._pass_on(self._waiting.popleft())
