"""A thread for what is long and belongs to one stream alone: it holds nobody up."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from facodec.streams.batching import Aside

K = TypeVar("K")

NICENESS = 5
"""Steps by which the thread is nicer than its process: who speaks goes first on few cores."""


def give_way() -> None:
    """Lowers the priority of the calling thread, where threads have their own."""
    if sys.platform != "linux":
        return  # elsewhere the priority is the whole process's
    with contextlib.suppress(OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)


class AsideThread(Generic[K]):
    """Answers requests one after the other, in the order they came.

    ``prepare``: called first in the thread, which gives way to all others. ``wanted``: whether
    somebody still waits for the answer. ``deliver``: gets it, or a
    :class:`facodec.streams.batching.Failure`, in the thread. Before :meth:`start`, requests are
    answered where they are put. A stream has at most one of them: there are no more than streams.
    """

    def __init__(
        self,
        prepare: Callable[[], None] | None,
        wanted: Callable[[K], bool],
        deliver: Callable[[K, Any], None],
    ) -> None:
        self._prepare, self._wanted, self._deliver = prepare, wanted, deliver
        self._requests: deque[tuple[K, Aside]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def put(self, key: K, request: Aside) -> None:
        """Queues a request."""
        if self._thread is None:
            self._deliver(key, request.settle())
            return
        with self._changed:
            self._requests.append((key, request))
            self._changed.notify()

    def start(self) -> None:
        # A daemon: an impatient second Ctrl-C must not wait for what is long.
        self._thread = threading.Thread(target=self._run, name="aside", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ends the thread after what it is at; waits at most ``timeout`` s for that."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        give_way()
        if self._prepare is not None:
            self._prepare()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._requests or self._stopping)
                if self._stopping:
                    return
                key, request = self._requests.popleft()
            if self._wanted(key):
                self._deliver(key, request.settle())
