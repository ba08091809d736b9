"""Ctrl-C and SIGTERM for a whole command: an exit status in place of a traceback."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
INTERRUPTED = 130
"""Exit status of a command cut short by Ctrl-C, as shells have it."""
TERMINATED = 143
"""Exit status of a command cut short by SIGTERM."""
_came: list[int] = []
"""Statuses of the signals that have come during the command."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: a command leaves as after Ctrl-C, and removes its unfinished files."""


def status_of(end: KeyboardInterrupt) -> int:
    """The exit status of a command that this ended: INTERRUPTED or TERMINATED."""
    return TERMINATED if isinstance(end, Terminated) else INTERRUPTED


def run(command: Callable[[], int]) -> int:
    """Returns the exit status of ``command``: its own, INTERRUPTED or TERMINATED.

    Signals that are ignored or handled already stay so, as does every one outside the main thread.
    """
    _came.clear()
    interrupt: Any = signal.default_int_handler
    defaults = {signal.SIGINT: interrupt, signal.SIGTERM: signal.SIG_DFL}
    main = threading.current_thread() is threading.main_thread()
    taken = [n for n, default in defaults.items() if main and signal.getsignal(n) is default]
    for number in taken:
        signal.signal(number, break_off)
    try:
        return command()
    except KeyboardInterrupt as end:
        return status_of(end)
    except Exception:
        if not _came:
            raise
        return _came[-1]  # numpy and torch make an ImportError of a Ctrl-C while they are imported
    finally:
        for number in taken:
            signal.signal(number, defaults[number])


def break_off(number: int, frame: FrameType | None) -> None:
    """Handler of a signal that cuts a command short."""
    _came.append(INTERRUPTED if number == signal.SIGINT else TERMINATED)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def unmasked(work: Callable[[], T]) -> T:
    """Returns what ``work`` does. An error that code below made of a signal leaves as the signal:
    torch, cut short in a file, calls the file damaged."""
    try:
        return work()
    except Exception as error:
        if not _came:
            raise
        raise (Terminated if _came[-1] == TERMINATED else KeyboardInterrupt) from error
