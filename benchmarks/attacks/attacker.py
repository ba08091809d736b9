"""An attacker in a process of its own.

    python -m benchmarks.attacks.attacker unread-pings --url ws://127.0.0.1:8765 --clients 4

The result goes to standard output as JSON: what :class:`benchmarks.attacks.job.Job` counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from benchmarks.attacks import churning, flooding, guessing, holding
from benchmarks.attacks.job import Job
from benchmarks.attacks.wire import STRANGER, Target
from streaming.server.settings import TOKEN_VARIABLE

CLIENTS: dict[str, Callable[[Job], Awaitable[None]]] = {
    "clock-before-hello": holding.clock_before_hello,
    "reconnect": holding.reconnect,
    "wait-in-rooms": holding.wait_in_rooms,
    "fill-room": holding.fill_room,
    "many-sessions": holding.many_sessions,
    "break-off": holding.break_off,
    "slowloris": holding.slowloris,
    "unfinished": holding.unfinished,
    "unread-pings": flooding.unread_pings,
    "tiny-messages": flooding.tiny_messages,
    "faster-than-real-time": flooding.faster_than_real_time,
    "flood-unread": flooding.flood_unread,
    "enroll": flooding.enroll,
    "publish": flooding.publish,
    "hasty-publisher": flooding.hasty_publisher,
    "deaf-listener": flooding.deaf_listener,
    "guess-tokens": guessing.guess_tokens,
    "garbage-frames": guessing.garbage_frames,
    "churn": churning.churn,
    "cut": churning.cut,
    "stall": churning.stall,
    "bursts": churning.bursts,
}


async def attack(name: str, job: Job) -> None:
    """Runs one kind of client until its time is over, or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    working = asyncio.ensure_future(CLIENTS[name](job))
    stopping = asyncio.ensure_future(stopped.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()
    else:
        working.cancel()
        await asyncio.wait([working])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attacks.attacker", allow_abbrev=False
    )
    add = parser.add_argument
    add("name", choices=list(CLIENTS))
    add("--url", required=True)
    add("--clients", type=int, default=4)
    add("--seconds", type=float, default=8.0)
    add("--word", default="", help="which variant")
    add("--address", default=STRANGER, help="that the first client comes from")
    add("--together", action="store_true", help="all from one address")
    add("--seed", type=int, default=0)
    options = parser.parse_args()
    target = Target.of(
        options.url, address=options.address, token=os.environ.get(TOKEN_VARIABLE) or None
    )
    job = Job(
        target, options.clients, options.seconds, options.word, options.seed, options.together
    )
    asyncio.run(attack(options.name, job))
    print(json.dumps(job.counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
