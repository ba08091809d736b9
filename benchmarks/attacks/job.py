"""The orders and counts of an attacker."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from benchmarks.attacks.wire import RefusedError, Target, Wire

PAUSE = 0.05
"""Seconds until a client that was turned away comes again."""


@dataclass
class Job:
    """``clients`` at once for ``seconds``, of ``target``'s address or, unless ``together``, one
    after it each. ``word``: which variant. ``counts``: what happened, by name; ``longest_ms``:
    how long one connection was left open."""

    target: Target
    clients: int
    seconds: float
    word: str = ""
    seed: int = 0
    together: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    until: float = field(init=False)

    def __post_init__(self) -> None:
        self.until = time.monotonic() + self.seconds

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return max(0.0, self.until - time.monotonic())

    async def all(self, client: Callable[[Job, int], Awaitable[None]]) -> None:
        """Runs so many clients of one kind, until they end or the time is over."""
        tasks = [asyncio.ensure_future(client(self.of(i), i)) for i in range(self.clients)]
        await asyncio.wait(tasks, timeout=self.left + 0.2)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, (OSError, RefusedError)):
                raise result

    def of(self, index: int) -> Job:
        """The job of one client, which counts together with the others."""
        if self.together:
            return self
        address = str(ip_address(self.target.address) + index)
        return replace(self, target=self.target.coming_from(address), seconds=self.left)

    async def open(self, *headers: str) -> Wire | None:
        """A connection, counted as ``opened``, ``refused STATUS`` or ``unanswered``; None after a
        short pause where it was not let in."""
        try:
            wire = await Wire.open(self.target, *headers)
        except RefusedError as error:
            self.counts[f"refused {error.status}"] += 1
        except OSError:
            self.counts["unanswered"] += 1
        else:
            self.counts["opened"] += 1
            return wire
        await asyncio.sleep(PAUSE)
        return None

    async def session(self, **hello: object) -> Wire | None:
        """An open session, its ``ready`` read; None where it was refused, counted by reason."""
        wire = await self.open()
        if wire is None:
            return None
        wire.write({"type": "hello", "version": 1, **hello})
        answer = await wire.receive()
        if answer is not None and answer["type"] == "ready":
            self.counts["ready"] += 1
            return wire
        self.counts[f"error {answer.get('code')}" if answer else "closed"] += 1
        wire.abort()
        await asyncio.sleep(PAUSE)
        return None

    def kept(self, since: float) -> None:
        """A connection that was opened at ``since`` (monotonic) is still open, or has just gone."""
        milliseconds = int(1e3 * (time.monotonic() - since))
        self.counts["longest_ms"] = max(self.counts["longest_ms"], milliseconds)
