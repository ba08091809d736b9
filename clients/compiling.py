"""Tells that C code is compiled, which the first command on a machine waits for, once."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

EVERY = 0.5
"""Seconds between two looks at the clock."""
USUAL = 10
"""Seconds that it takes, about: 6 to 9 were measured, on one core."""


@contextmanager
def show_compiling(
    name: str, errors: TextIO | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """A line on a terminal, with the seconds so far, while the code of ``name`` is compiled;
    nothing where standard error is no terminal."""
    stream = errors or sys.stderr
    if stream is None or not stream.isatty():
        yield
        return
    started, done = clock(), threading.Event()

    def tell() -> None:
        stream.write(
            f"\r\x1b[Kcompiling once (C code of {name}, about {USUAL} s): {clock() - started:.0f} s"
        )
        stream.flush()

    def tick() -> None:
        while not done.wait(EVERY):
            tell()

    tell()
    ticking = threading.Thread(target=tick, name="compiling", daemon=True)
    ticking.start()
    try:
        yield
    finally:
        done.set()
        ticking.join()
        tell()
        stream.write("\n")
        stream.flush()
