"""Attackers that hold what others need: places, rooms, names, connections."""

from __future__ import annotations

import asyncio
import time

from benchmarks.attacks.job import PAUSE, Job
from benchmarks.attacks.wire import Wire, connect, framed, handshake

LOOK = 0.1
"""Seconds between two looks at a connection that is only held."""


async def clock_before_hello(job: Job) -> None:
    """Ask for the time, never say hello."""
    await job.all(_ask_for_the_time)


async def _ask_for_the_time(job: Job, index: int) -> None:
    while job.left:
        wire = await job.open()
        if wire is None:
            continue
        began, ended = time.monotonic(), asyncio.ensure_future(wire.discard())
        while job.left and not ended.done():
            wire.write({"type": "clock", "t0": 0.0})
            await asyncio.wait([ended], timeout=0.5)
            job.kept(began)
        wire.abort()


async def reconnect(job: Job) -> None:
    """Connect, say nothing, connect again as soon as the server hangs up."""
    await job.all(_come_again)


async def _come_again(job: Job, index: int) -> None:
    while job.left:
        wire = await job.open()
        if wire is not None:
            began, ended = time.monotonic(), asyncio.ensure_future(wire.discard())
            await asyncio.wait([ended], timeout=job.left)
            job.kept(began)
            wire.abort()
            await asyncio.sleep(PAUSE)


async def wait_in_rooms(job: Job) -> None:
    """Listen to rooms that nobody publishes in. ``word``: the room; with a # at its end, every
    client waits in another."""
    await job.all(_wait_for_publisher)


async def _wait_for_publisher(job: Job, index: int) -> None:
    name = job.word.replace("#", str(index))
    while job.left:
        wire = await job.open()
        if wire is None:
            continue
        wire.write({"type": "hello", "version": 1, "role": "subscribe", "room": name})
        answer = asyncio.ensure_future(wire.receive())
        await asyncio.wait([answer], timeout=job.left)
        if not answer.done():
            job.counts["waiting"] += 1
            answer.cancel()
            wire.abort()
            return
        told = answer.result()
        job.counts[f"error {told.get('code')}" if told else "closed"] += 1
        wire.abort()
        await asyncio.sleep(PAUSE)


async def fill_room(job: Job) -> None:
    """Listeners of the room ``word`` that has a publisher, all at once: ``listening`` says how many
    there were at the end."""
    await job.all(_listen)


async def _listen(job: Job, index: int) -> None:
    wire = await job.session(role="subscribe", room=job.word, output="codes")
    if wire is None:
        return
    ended = asyncio.ensure_future(wire.discard())
    await asyncio.wait([ended], timeout=job.left)
    job.counts["listening" if not ended.done() else "dropped"] += 1
    wire.abort()


async def many_sessions(job: Job) -> None:
    """Open sessions that do nothing, as many as there are clients."""
    await job.all(_hold_session)


async def _hold_session(job: Job, index: int) -> None:
    while job.left:
        wire = await job.session(role="loopback")
        if wire is None:
            continue
        ended = asyncio.ensure_future(wire.discard())
        await asyncio.wait([ended], timeout=job.left)
        job.counts["held" if not ended.done() else "dropped"] += 1
        wire.abort()


async def break_off(job: Job) -> None:
    """Open sessions that may come back, and break them off, over and over."""
    await job.all(_break_off)


async def _break_off(job: Job, index: int) -> None:
    while job.left:
        wire = await job.session(role="loopback", replay="all")
        if wire is not None:
            job.counts["broken"] += 1
            wire.abort()


async def slowloris(job: Job) -> None:
    """Send the request for an upgrade one byte at a time."""
    await job.all(_drip)


async def _drip(job: Job, index: int) -> None:
    while job.left:
        reader, writer = await connect(job.target)
        wire, began = Wire(reader, writer), time.monotonic()
        job.counts["connections"] += 1
        ended = asyncio.ensure_future(wire.discard())
        for byte in handshake(job.target):
            if not job.left or ended.done():
                break
            writer.write(bytes([byte]))
            await asyncio.wait([ended], timeout=5 * LOOK)
            job.kept(began)
        wire.abort()
        await asyncio.sleep(PAUSE)


LONG_LINE = 8000
"""Bytes of a header line that the WebSocket library still takes."""
LONG_MESSAGE = 200_000


async def unfinished(job: Job) -> None:
    """Hold connections in the middle. ``word``: ``request``, of a megabyte; ``message``, the first
    and a long one; or ``nothing``, where not a byte is sent."""
    await job.all(_hold_unfinished)


async def _hold_unfinished(job: Job, index: int) -> None:
    lines = [f"X-{number}: {'a' * LONG_LINE}" for number in range(120)]
    while job.left:
        began = time.monotonic()
        if job.word == "message":
            opened = await job.open()
            if opened is None:
                continue
            wire = opened
            wire.writer.write(framed(bytes(LONG_MESSAGE))[:-1])
        else:
            wire = Wire(*await connect(job.target))
            if job.word == "request":
                wire.writer.write(handshake(job.target, *lines)[:-2])
        job.counts["connections"] += 1
        ended = asyncio.ensure_future(wire.discard())
        await asyncio.wait([ended], timeout=job.left)
        job.kept(began)
        wire.abort()
        await asyncio.sleep(PAUSE)
