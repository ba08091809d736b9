"""Ctrl-C, SIGTERM and the terminal's closing in an event loop, which a pipe may hold up."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from clients.ending import break_off
from facodec import pipes

PATIENCE = 0.5
"""Seconds in which a loop that is at work is to come to a signal. Before these are over another is
no reason to break off: it might come within a call from C, which swallows exceptions."""


def ending_signals() -> list[signal.Signals]:
    """Signals that end a command in good order. SIGHUP counts unless ``nohup`` had it ignored: a
    server of our own must not stay behind."""
    hangs_up = signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangs_up else [])]


@contextmanager
def signals_told(tell: Callable[[], None]) -> Iterator[None]:
    """While this lasts, the signals that end a command call ``tell`` in the running event loop.

    Where that cannot answer, since it waits for a pipe or has not come to the signal before in
    :data:`PATIENCE`, they break off what it is in, as they do outside: in an exception,
    KeyboardInterrupt.
    """
    loop = asyncio.get_running_loop()
    waits: float | None = None  # since when a signal has not been told

    def come() -> None:
        nonlocal waits
        waits = None
        tell()

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal waits
        now = time.monotonic()
        waits = now if waits is None else waits
        if pipes.holds_up() or now - waits > PATIENCE:
            break_off(number, frame)
        loop.call_soon_threadsafe(come)

    before = {number: signal.signal(number, on_signal) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
