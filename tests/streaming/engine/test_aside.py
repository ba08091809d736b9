from __future__ import annotations

import os
import queue
import sys
import threading

import pytest

from facodec.streams.batching import Aside
from streaming.engine.aside import NICENESS, AsideThread


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_what_is_put_aside_gives_way_to_all_other_threads():
    priorities: queue.Queue[int] = queue.Queue()

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    thread: AsideThread[int] = AsideThread(
        None, lambda key: True, lambda key, answer: priorities.put(answer)
    )
    thread.start()
    thread.put(0, Aside(priority))
    try:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert priorities.get(timeout=10) == min(own + NICENESS, 19)
    finally:
        thread.stop(10)
