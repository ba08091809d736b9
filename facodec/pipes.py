"""Pipes: waiting for their other ends, and what they give as a file.

Whoever waits for one waits in the call that opens, reads or writes it. Where that is the event
loop, no signal is answered meanwhile: :func:`holds_up` tells the handlers of signals, which then
break the call off.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from facodec.reasons import FileError, shown, why

log = logging.getLogger(__name__)

LARGEST_PIPE = 4 << 30
"""Bytes taken from a pipe, which are kept in a temporary file."""
CHUNK = 1 << 20
PATIENCE = 2.0
"""Seconds of waiting for the other end of a pipe without a word."""
_waits = 0
"""Calls of the main thread, one in another, that may wait for the other end of a pipe."""


def holds_up() -> bool:
    """Whether the main thread is in a call that may wait for the other end of a pipe."""
    return _waits > 0


@contextmanager
def waiting() -> Iterator[None]:
    """Around calls that may wait for the other end of a pipe: signals break them off."""
    global _waits
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _waits += 1
    try:
        yield
    finally:
        _waits -= 1


@contextmanager
def patiently(path: Path) -> Iterator[None]:
    """While this opens a pipe, a wait for its other end is told once."""
    if not path.is_fifo():
        yield
        return
    sentence = "%s is a pipe: waiting for its other end"
    telling = threading.Timer(PATIENCE, log.warning, (sentence, shown(path)))
    telling.daemon = True
    telling.start()
    try:
        with waiting():
            yield
    finally:
        telling.cancel()


def open_to_write(path: Path) -> int:
    """Descriptor of a pipe or device, opened for writing once somebody reads it."""
    with patiently(path):
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)


def spooled(pipe: BinaryIO, path: Path) -> BinaryIO:
    """The content of a pipe in a temporary file, at its beginning. Raises FileError."""
    kept = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - handed out open
    try:
        with waiting():
            while data := pipe.read(CHUNK):
                kept.write(data)
                if kept.tell() > LARGEST_PIPE:
                    raise FileError(f"{shown(path)} gives more than {LARGEST_PIPE >> 30} GiB")
        kept.seek(0)
    except OSError as error:
        kept.close()
        raise FileError(f"cannot keep what {shown(path)} gives: {why(error)}") from error
    except BaseException:
        kept.close()
        raise
    return kept
