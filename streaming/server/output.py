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
"""Seconds between two calls of what is done every now and then."""


class Output:
    """Writes lines, those of each stream in a thread of its own. ``with Output() as output``;
    leaving writes what waits, for a second at most.

    The reader of a pipe may have gone, a terminal may be halted, a disk full, a descriptor closed:
    whoever prints goes on as if nothing had happened, and the lines are lost."""

    def __init__(self) -> None:
        self._stdout = _Writer(_descriptor(sys.stdout))
        self._stderr = _Writer(_descriptor(sys.stderr))

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def say(self, line: str) -> None:
        """A line on standard output."""
        self._stdout.put(line)

    def complain(self, line: str) -> None:
        """A line on standard error."""
        self._stderr.put(line)

    def every_tick(self, call: Callable[[], None]) -> None:
        """Calls every few seconds from now on, in the thread that writes to standard error."""
        self._stderr.on_tick = call

    def close(self, patience: float = 1.0) -> None:
        """Waits for what is still to be written, for so many seconds at most."""
        deadline = time.monotonic() + patience
        for writer in (self._stdout, self._stderr):
            writer.close()
        for writer in (self._stdout, self._stderr):
            writer.join(max(0.0, deadline - time.monotonic()))


class _Writer(threading.Thread):
    """Writes the lines of one descriptor; None takes them and does nothing."""

    def __init__(self, descriptor: int | None) -> None:
        super().__init__(name="output", daemon=True)
        self.on_tick: Callable[[], None] | None = None
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.start()

    def put(self, line: str) -> None:
        data = (line + "\n").encode("utf-8", "backslashreplace")
        with self._changed:
            if len(self._lines) < MOST_WAITING:
                self._lines.append(data)
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()

    def run(self) -> None:
        ticked = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._lines) or self._closing, TICK)
                line = self._lines.popleft() if self._lines else None
                if line is None and self._closing:
                    return
            if line is not None and self._descriptor is not None:
                _write(self._descriptor, line)
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
