"""Network namespaces of one's own, each with one end of a path as its network (Linux, root).

They have no names and go with the process that made them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any, TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
TUN = Path("/dev/net/tun")
DEVICE = "path0"


def missing() -> str | None:
    """Says in a sentence why there can be no namespaces here; None where there can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's: run this there"
    if os.geteuid() != 0:
        return "network namespaces need root: run it with sudo"
    if not TUN.exists():
        return f"there is no {TUN}: modprobe tun"
    return None if which("ip") else "ip is not installed (Debian: apt-get install iproute2)"


class Namespace:
    """A network namespace whose only way out is a TUN device: :attr:`tun` gives and takes whole IP
    packets. ``address``: its own, in a network of two. Raises OSError where it is not allowed."""

    def __init__(self, address: str) -> None:
        self.address = address
        # A namespace is a thread's; processes that are started in it have the same.
        self._thread = ThreadPoolExecutor(1, f"namespace-{address}")
        try:
            self.tun: int = self.do(self._enter)
        except BaseException:
            self._thread.shutdown()
            raise

    def do(self, work: Callable[[], T]) -> T:
        """Calls ``work`` inside."""
        return self._thread.submit(work).result()

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Starts a process inside, with the options of :class:`subprocess.Popen`; in text."""
        return self.do(lambda: subprocess.Popen(command, text=True, **options))

    def close(self) -> None:
        os.close(self.tun)
        self._thread.shutdown()

    def _enter(self) -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"no network namespace: {os.strerror(number)}")
        tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        try:
            name = DEVICE.encode()
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name, IFF_TUN | IFF_NO_PI))
            for words in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{self.address}/30", "dev", DEVICE),
                ("link", "set", DEVICE, "up"),
            ):
                subprocess.run(["ip", *words], check=True, capture_output=True)
        except BaseException:
            os.close(tun)
            raise
        return tun
