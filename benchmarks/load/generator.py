"""The load generator: many real sessions with a server, from one process of its own.

    python -m benchmarks.load.generator --url ws://127.0.0.1:8765 --sessions 32 --seconds 60

Each session sends one packet whenever one is due, on its own phase of the hop, and reads all that
comes back. A packet is timed from the moment it was *due*, so a generator or a server that falls
behind cannot hide it. At the end ``end`` is sent and ``done`` awaited, and every frame is accounted
for. The result goes to standard output as JSON; see :class:`benchmarks.load.session.Tally`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
from websockets.uri import parse_uri

from benchmarks.load.session import Listener, Load, Media, Speaker, Talker, Tally
from clients.library.certificates import client_context
from clients.options import CA_VARIABLE
from streaming.server.settings import TOKEN_VARIABLE
from streaming.wire import protocol
from streaming.wire.protocol import Hello

OPEN_TIMEOUT, FINISH_TIMEOUT = 20.0, 20.0
"""Seconds that a session has to be answered, and to be told the totals."""


async def generate(
    load: Load,
    speech: np.ndarray,
    stopped: asyncio.Event,
    make: Callable[[int, Tally], Talker] | None = None,
) -> Tally:
    """Opens all sessions, lets them talk for ``load.seconds`` or until ``stopped``, ends them.
    ``make``: the session of that number, by default one that says speech from a place of its
    own."""
    tally = Tally()
    phases = random.Random(load.seed)
    parsed = parse_uri(load.url)
    host, port = parsed.host, parsed.port
    tls = client_context(load.url, os.environ.get(CA_VARIABLE))
    loop = asyncio.get_running_loop()
    talkers: list[Talker] = []
    for index in range(load.sessions):
        if make is None:
            talker = Talker(load, Media(load.hello, speech, load.seed + index), tally)
        else:
            talker = make(index, tally)
        try:
            await loop.create_connection(lambda made=talker: made, host, port, ssl=tls)
        except OSError:
            tally.outcomes["no connection"] += 1
            continue
        talkers.append(talker)
        await asyncio.wait([talker.ready], timeout=OPEN_TIMEOUT)
    start, used = time.perf_counter() + 0.05, time.process_time()
    for talker in talkers:
        talker.begin(start + phases.random() * load.period)
    # The last packet falls due less than one period after the time is over.
    await _first_of(
        stopped.wait(),
        asyncio.sleep(load.seconds + load.period + 0.05),
        asyncio.gather(*(talker.over for talker in talkers)),
    )
    tally.cpu = time.process_time() - used
    for talker in talkers:
        talker.read_tcp()
        talker.stop()
    if talkers:
        await asyncio.wait([talker.over for talker in talkers], timeout=FINISH_TIMEOUT)
    for talker in talkers:
        talker.cut()
    return tally


def in_pairs(load: Load, speech: np.ndarray) -> Callable[[int, Tally], Talker]:
    """Sessions in pairs for :func:`generate`: one publishes codes into a room, the next one hears
    them there."""
    speakers: list[Speaker] = []

    def make(index: int, tally: Tally) -> Talker:
        pair, is_listener = divmod(index, 2)
        room = f"load-{os.getpid()}-{pair}"
        shared = replace(load.hello, pcm="f32", room=room, version=2)
        publish = replace(shared, role="publish", input="codes", output=None)
        speaks = replace(load, hello=publish, stamped=False)
        media = Media(speaks.hello, speech, load.seed + pair)
        if is_listener:
            hears = replace(shared, role="subscribe", input=None, output="codes")
            return Listener(replace(load, hello=hears), media, tally, speakers[pair])
        # What comes back is the listener's to count.
        own = Tally(late=tally.late, outcomes=tally.outcomes, payload=tally.payload, tcp=tally.tcp)
        speakers.append(Speaker(speaks, media, own))
        return speakers[pair]

    return make


async def _first_of(*waits: Awaitable[Any]) -> None:
    tasks = [asyncio.ensure_future(asyncio.wait([asyncio.ensure_future(w)])) for w in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--url", required=True, help="ws:// or wss:// address of the server")
    add("--sessions", type=int, default=1)
    add("--seconds", type=float, default=10.0, help="how long each session talks")
    add("--role", default="loopback", choices=protocol.ROLES)
    add("--input", choices=protocol.FORMATS)
    add("--output", choices=protocol.FORMATS)
    add("--pcm", default="s16", choices=protocol.PCM_FORMATS)
    add("--frames-per-packet", type=int, default=1)
    add("--pairs", action="store_true", help="every second session hears, by its room, the one "
        "before it, which publishes codes")  # fmt: skip
    add("--model")
    add("--idle", action="store_true", help="open sessions that say nothing")
    add("--no-stamps", action="store_true", help="packets without the time")
    add("--settle", type=float, default=1.0, help="seconds at the start that are not timed")
    add("--seed", type=int, default=0)


def load_from(options: argparse.Namespace) -> Load:
    """The load that parsed options ask for."""
    hello = Hello(
        options.role,
        input=options.input,
        output=options.output,
        pcm=options.pcm,
        model=options.model,
        frames_per_packet=options.frames_per_packet,
        token=os.environ.get(TOKEN_VARIABLE),
    )
    return Load(
        url=options.url,
        sessions=options.sessions,
        seconds=options.seconds,
        hello=hello,
        send=not options.idle,
        stamped=not options.no_stamps,
        settle=options.settle,
        seed=options.seed,
    )


async def _main(load: Load, *, pairs: bool) -> Tally:
    import soundfile

    from clients.offline.voicebook import BUNDLED

    speech, _ = soundfile.read(BUNDLED["slt"], dtype="float32")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    return await generate(load, speech, stopped, in_pairs(load, speech) if pairs else None)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.generator", allow_abbrev=False)
    add_arguments(parser)
    options = parser.parse_args()
    load = load_from(options)
    try:
        import uvloop

        tally = uvloop.run(_main(load, pairs=options.pairs))
    except ImportError:
        tally = asyncio.run(_main(load, pairs=options.pairs))
    json.dump(tally.to_json(), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
