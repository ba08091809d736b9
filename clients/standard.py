"""Standard input, output and error as a command finds them: closed, full, or without a reader."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any

STDERR = 2


def open_descriptors() -> None:
    """Opens those of the descriptors 0 to 2 that are closed, on nothing: else files and sockets
    would get their numbers, and whatever prints would write into them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:  # what shows progress does not look
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the program runs


def forgive_errors() -> None:
    """From now on what standard error does not take is lost, as nobody could be told: a full disk
    or a reader who has gone ends no command. Only the interpreter's own stream is exchanged."""
    if sys.stderr is not sys.__stderr__ or not isinstance(sys.stderr, io.TextIOWrapper):
        return
    raw = ForgivingOutput(STDERR)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=sys.stderr.encoding, errors="backslashreplace",
        line_buffering=True, write_through=True,
    )  # fmt: skip


class ForgivingOutput(io.RawIOBase):
    """A descriptor to write to, which stays open; what it does not take is dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        with suppress(OSError):
            return os.write(self._descriptor, view)
        return len(view)

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True
