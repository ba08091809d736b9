"""Coming back: when to try again, what is told, and what is not retried; without waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clients.errors import ClientError, ConnectionLost, NotAuthorized, ServerFull
from clients.library.connection import Session
from clients.library.reconnect import Backoff, keep_connected


class Attempts:
    """Stands for ``connect``: fails as told, then hands out a session."""

    def __init__(self, *failures: ClientError) -> None:
        self.failures = list(failures)
        self.made = 0

    def __call__(self) -> Any:
        self.made += 1
        return self

    async def __aenter__(self) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        return object()

    async def __aexit__(self, *_: object) -> None:
        pass


def run(attempts: Attempts, use: Any, backoff: Backoff | None = None, patience: int = 99) -> Any:
    told: list[str] = []
    slept: list[float] = []

    async def sleep(seconds: float) -> bool:
        slept.append(seconds)
        return len(slept) < patience

    async def work() -> Any:
        return await keep_connected(attempts, use, told.append, sleep, backoff)

    return asyncio.run(work()), told, slept


async def fine(_: Session) -> str:
    return "fine"


def test_waits_double_up_to_a_limit_and_end() -> None:
    backoff = Backoff(first=0.5, longest=3.0, attempts=5)
    assert [backoff.wait() for _ in range(6)] == [0.5, 1.0, 2.0, 3.0, 3.0, None]
    backoff.reset()
    assert backoff.wait() == 0.5


def test_the_servers_advice_is_heeded_within_reason() -> None:
    backoff = Backoff(first=0.5, longest=8.0)
    assert backoff.wait(advice=5.0) == 5.0
    assert backoff.wait(advice=3600.0) == 8.0


def test_it_comes_back_and_says_so() -> None:
    lost = ConnectionLost("the connection to the server was lost")
    result, told, slept = run(Attempts(lost, lost), fine)
    assert result == "fine"
    assert slept == [0.5, 1.0]
    assert told[0] == "the connection to the server was lost; trying again in 0.5 s"


def test_a_session_that_breaks_is_replaced_and_forgives_earlier_failures() -> None:
    attempts = Attempts(ServerFull("full", 4.0))
    sessions: list[Session] = []

    async def breaks_twice(session: Session) -> str:
        sessions.append(session)
        if len(sessions) < 3:
            raise ConnectionLost("gone")
        return "done"

    result, _, slept = run(attempts, breaks_twice)
    assert result == "done" and attempts.made == 4
    assert slept == [4.0, 0.5, 0.5]


def test_what_cannot_get_better_is_raised_at_once() -> None:
    with pytest.raises(NotAuthorized):
        run(Attempts(NotAuthorized("token")), fine)


def test_it_gives_up_with_the_last_reason() -> None:
    failures = [ConnectionLost(f"failure {number}") for number in range(9)]
    with pytest.raises(ConnectionLost, match="failure 2"):
        run(Attempts(*failures), fine, Backoff(attempts=2))


def test_stopping_while_it_waits_ends_quietly() -> None:
    result, told, _ = run(Attempts(ConnectionLost("gone")), fine, patience=1)
    assert result is None and len(told) == 1
