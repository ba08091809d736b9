"""Events that a server's process hears from the system: signals, and the end of its input."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from facodec.reasons import shown, why

log = logging.getLogger(__name__)

MALLOC_OPTIONS = {"M_TRIM_THRESHOLD": (-1, 8 << 20), "M_MMAP_THRESHOLD": (-3, 1 << 20),
                  "M_ARENA_MAX": (-8, 2)}  # fmt: skip
"""Options for glibc's ``mallopt``, by name: number and value."""

DESCRIPTORS = 4096


def bound_malloc() -> None:
    """Has the C library give large pieces of memory back, wherever it is glibc: by itself it soon
    takes them from the heaps of its threads, whose holes add up for hours."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc
        return
    for number, value in MALLOC_OPTIONS.values():
        mallopt(number, value)


def raise_descriptors() -> None:
    """Lets the process have as many descriptors as it is allowed to, up to :data:`DESCRIPTORS`: a
    server with all its listeners has more than the 1024 that systems begin with."""
    try:
        import resource
    except ImportError:  # no POSIX
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def ending_signals() -> list[signal.Signals]:
    """SIGHUP, the terminal's closing, ends the server too unless ``nohup`` had it ignored."""
    hangs_up = signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangs_up else [])]


def watch_input(told: asyncio.Event) -> None:
    """Tells when standard input ends: then whoever started the server is gone."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # it was closed from the start
        told.set()
        return

    def on_input() -> None:
        try:
            if os.read(descriptor, 4096):
                return  # whatever comes in is ignored
        except OSError:
            pass  # a terminal that has gone
        loop.remove_reader(descriptor)
        told.set()

    try:
        loop.add_reader(descriptor, on_input)
    except OSError:  # a file, which cannot be waited for
        told.set()


def run_on_best_loop(work: Coroutine[Any, Any, int]) -> int:
    """Runs the work on uvloop if there is one; returns what it returns."""
    try:
        import uvloop
    except ImportError:
        log.warning("uvloop is not installed: running on the slower stock event loop")
        return asyncio.run(work)
    return uvloop.run(work)


def check_port(host: str, port: int) -> None:
    """Before the work of loading models: the address must be there and free. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise OSError(
            f"cannot listen at {shown(host)}: {why(error)}; choose another with --host"
        ) from error
    for family, kind, protocol, _, address in found if port else ():
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
                probe.listen(1)
            except OSError as error:
                raise OSError(
                    f"cannot listen at {host} port {port}: {error.strerror}; "
                    "choose another with --port or --host"
                ) from error
