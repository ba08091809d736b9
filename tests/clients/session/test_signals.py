"""Signals that come to an event loop, where it can answer them and where it cannot."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import cast

import pytest

from clients import ending
from clients.session import signals
from clients.session.run import LiveRun
from clients.session.signals import signals_told
from clients.session.talk import interruptible
from facodec import pipes


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    raise AssertionError("expected the signal to raise")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_told_to_the_event_loop_unless_it_cannot_answer(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)

    async def command() -> None:
        told: asyncio.Queue[None] = asyncio.Queue()
        with signals_told(lambda: told.put_nowait(None)):
            os.kill(os.getpid(), number)
            await told.get()
            with pytest.raises(KeyboardInterrupt) as broken_off, pipes.waiting():
                send(number)
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # at once after the one before: both are told
            for _ in range(2):
                await told.get()
            os.kill(os.getpid(), number)
            monkeypatch.setattr(signals, "PATIENCE", 0.0)
            with pytest.raises(KeyboardInterrupt):  # the loop has not come to the one before
                send(number)
        terminated = ending.status_of(broken_off.value) == 143
        assert terminated == (number == signal.SIGTERM)

    asyncio.run(command())
    assert signal.getsignal(number) is before


class Waiting:
    """A run that waits for a pipe as soon as it is started."""

    async def run(self) -> None:
        with pipes.waiting():
            send(signal.SIGTERM)

    def stop(self) -> None:
        raise AssertionError("expected the wait to be broken off")


def test_a_run_that_a_signal_breaks_off_leaves_nothing_to_tell(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ending.Terminated):
        asyncio.run(interruptible(cast(LiveRun, Waiting())))
    gc.collect()
    assert not caplog.records
