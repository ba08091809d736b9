"""Lines on standard output and standard error that can neither fail nor hold anybody up."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

MOST_WAITING = 1000
"""Lines that wait to be written; what comes while there are so many is dropped."""
PATIENCE = 0.5
"""Seconds between two tries to write where nobody reads."""
TICK = 5.0
"""Seconds between two calls of ``on_tick``."""


class Output:
    """Writes lines in a thread of its own. ``with Output() as output``; leaving writes what waits,
    for a second at most.

    The reader of a pipe may have gone, a terminal may be halted, a disk full, a descriptor closed:
    whoever prints goes on as if nothing had happened, and the lines are lost."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, bytes]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._descriptors = {stream: _descriptor(stream) for stream in (sys.stdout, sys.stderr)}
        self.on_tick: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
        self._thread.start()

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def say(self, line: str) -> None:
        """A line on standard output."""
        self._put(sys.stdout, line)

    def complain(self, line: str) -> None:
        """A line on standard error."""
        self._put(sys.stderr, line)

    def close(self, patience: float = 1.0) -> None:
        """Waits for what is still to be written, for so many seconds at most."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience)

    def _put(self, stream: TextIO | None, line: str) -> None:
        descriptor = self._descriptors.get(stream) if stream is not None else None
        if descriptor is None:
            return
        data = (line + "\n").encode("utf-8", "backslashreplace")
        with self._changed:
            if len(self._lines) < MOST_WAITING:
                self._lines.append((descriptor, data))
                self._changed.notify()

    def _write_all(self) -> None:
        ticked = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._lines) or self._closing, TICK)
                line = self._lines.popleft() if self._lines else None
                if line is None and self._closing:
                    return
            if line is not None:
                _write(*line)
            if self.on_tick is not None and time.monotonic() - ticked >= TICK:
                ticked = time.monotonic()
                self.on_tick()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [], PATIENCE)
        except (OSError, ValueError):
            return


def _descriptor(stream: TextIO | None) -> int | None:
    """None for a stream that is closed, whose number may be a socket's by now."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
