"""Carries packets between two TUN devices over a path: a process of its own.

    python -m benchmarks.link.forward --path clean --seconds 60 --near 3 --far 4 --log way.json

It is told on standard input when the talk begins (monotonic s). At the end (its input closes) the
log is written: of each packet the time it was sent, that it came or null, its direction and size.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import select
import signal
import sys
import time
from pathlib import Path

from benchmarks.link.conditions import Way, paths

MOST = 65536
THERE, BACK = 0, 1
"""Directions: from the near end to the far one, and back."""
IPV4 = 4
Entry = tuple[float, float | None, int, int]


class Forwarder:
    """A path between two TUN devices. ``ends``: near and far; ``order``: file that tells when the
    talk begins, and by its end that it is over."""

    def __init__(self, ways: tuple[Way, Way], ends: tuple[int, int], order: int) -> None:
        self._ways, self._ends, self._order = ways, ends, order
        self._log: list[Entry] = []
        self._due: list[tuple[float, int, int, bytes]] = []

    def run(self) -> list[Entry]:
        """Carries until ``order`` closes; returns the log, times in s of the talk."""
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            ready, _, _ = select.select([self._order, *self._ends], [], [], wait)
            self._deliver(time.monotonic())
            for way, end in enumerate(self._ends):
                if end in ready:
                    self._take(way, end)
            if self._order in ready and not self._told():
                return self._in_talk()

    def _told(self) -> bool:
        """Reads when the talk begins; False where nothing follows."""
        said = os.read(self._order, MOST)
        if said:
            for way in self._ways:
                way.began = float(said)
        return bool(said)

    def _take(self, way: int, end: int) -> None:
        """Takes what waits at one end."""
        while True:
            try:
                packet = os.read(end, MOST)
            except BlockingIOError:
                return
            if packet[0] >> 4 != IPV4:
                continue  # what systems say of themselves when a device comes up
            now = time.monotonic()
            at = self._ways[way].arrival(now, len(packet))
            self._log.append((now, at, way, len(packet)))
            if at is not None:
                heapq.heappush(self._due, (at, len(self._log), way, packet))

    def _deliver(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            _, _, way, packet = heapq.heappop(self._due)
            try:
                os.write(self._ends[1 - way], packet)
            except OSError:  # its queue is full, or it has gone
                continue

    def _in_talk(self) -> list[Entry]:
        zero = self._ways[0].began
        return [
            (sent - zero, None if came is None else came - zero, way, size)
            for sent, came, way, size in self._log
        ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.link.forward", allow_abbrev=False)
    add = parser.add_argument
    add("--path", required=True)
    add("--seconds", type=float, required=True, help="of the talk")
    add("--seed", type=int, default=0)
    add("--near", type=int, required=True, help="file descriptor of a TUN device")
    add("--far", type=int, required=True, help="the other end's")
    add("--log", type=Path, required=True)
    args = parser.parse_args()
    path = paths(args.seconds)[args.path]
    ways = Way(path, 2 * args.seed), Way(path, 2 * args.seed + 1)
    # To be asked to end is to be told by the end of the input, when all has been delivered.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    log = Forwarder(ways, (args.near, args.far), sys.stdin.fileno()).run()
    args.log.write_text(json.dumps(log))
    return 0


if __name__ == "__main__":
    sys.exit(main())
