"""Coming back after a lost connection: when to try again, and the loop that does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from clients.errors import ClientError
from clients.library.connection import Session, connect

T = TypeVar("T")


class Backoff:
    """Waits of ``first`` s, doubling up to ``longest`` s, ``attempts`` times in a row at most."""

    def __init__(self, first: float = 0.5, longest: float = 8.0, attempts: int = 8) -> None:
        self._first = first
        self._longest = longest
        self._attempts = attempts
        self._failures = 0

    def reset(self) -> None:
        """Notes that the connection worked."""
        self._failures = 0

    def wait(self, advice: float | None = None) -> float | None:
        """Seconds until the next attempt, not before ``advice``; None: give up."""
        if self._failures >= self._attempts:
            return None
        delay: float = min(self._longest, self._first * 2**self._failures)
        self._failures += 1
        return delay if advice is None else max(delay, min(advice, self._longest))


async def keep_connected(
    make: Callable[[], connect],
    use: Callable[[Session], Awaitable[T]],
    tell: Callable[[str], None],
    sleep: Callable[[float], Awaitable[bool]],
    backoff: Backoff | None = None,
) -> T | None:
    """Run ``use`` with one session after another until it returns.

    ``sleep`` waits and returns whether to go on; None comes back when it says no. Errors that a
    later attempt may not meet are told to ``tell`` and retried, until ``backoff`` gives up; the
    others, and the last one, are raised.
    """
    backoff = backoff or Backoff()
    while True:
        try:
            async with make() as session:
                backoff.reset()
                return await use(session)
        except ClientError as error:
            advice = getattr(error, "retry_after", None)
            delay = backoff.wait(advice) if getattr(error, "retryable", False) else None
            if delay is None:
                raise
            tell(f"{error}; trying again in {delay:g} s")
        if not await sleep(delay):
            return None
