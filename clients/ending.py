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

    def interrupt(number: int, frame: FrameType | None) -> None:
        _came.append(INTERRUPTED)
        signal.default_int_handler(number, frame)

    def terminate(*_: object) -> None:
        _came.append(TERMINATED)
        raise Terminated

    handlers: dict[int, tuple[Any, Any]] = {
        signal.SIGINT: (signal.default_int_handler, interrupt),
        signal.SIGTERM: (signal.SIG_DFL, terminate),
    }
    main = threading.current_thread() is threading.main_thread()
    taken = [n for n, (default, _) in handlers.items() if main and signal.getsignal(n) is default]
    for number in taken:
        signal.signal(number, handlers[number][1])
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
            signal.signal(number, handlers[number][0])


def unmasked(work: Callable[[], T]) -> T:
    """Returns what ``work`` does. An error that code below made of a signal leaves as the signal:
    torch, cut short in a file, calls the file damaged."""
    try:
        return work()
    except Exception as error:
        if not _came:
            raise
        raise (Terminated if _came[-1] == TERMINATED else KeyboardInterrupt) from error
