"""Clients as a bad network and impatient people make them: for a long run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from benchmarks.attacks.job import PAUSE, Job
from benchmarks.attacks.wire import CLOSE, Wire
from facodec.config import HOP, SAMPLE_RATE

HOP_SECONDS = HOP / SAMPLE_RATE
ROLES = (
    {"role": "encode"}, {"role": "loopback"}, {"role": "publish"}, {"role": "subscribe"},
    {"role": "loopback", "frames_per_packet": 4}, {"role": "enroll"},
)  # fmt: skip
ROOMS = 3
LONGEST = 60.0
"""Seconds that one of these sessions may take."""
Part = Callable[[Job, Wire, np.random.Generator], Awaitable[None]]


async def churn(job: Job) -> None:
    """Sessions of all roles that come, talk for a few seconds, and end as they should."""
    await _sessions(job, _talk_and_end)


async def cut(job: Job) -> None:
    """Sessions whose connection breaks in the middle."""
    await _sessions(job, _talk_and_break)


async def stall(job: Job) -> None:
    """Sessions that neither send nor read for seconds, then go on."""
    await _sessions(job, _talk_and_stall)


async def bursts(job: Job) -> None:
    """Sessions that send as fast as the socket takes it, for a second or two, and are quiet."""
    await _sessions(job, _hurry_and_end)


async def _sessions(job: Job, part: Part) -> None:
    async def client(job: Job, index: int) -> None:
        random = np.random.default_rng((job.seed, index))
        while job.left:
            hello: dict[str, object] = dict(ROLES[int(random.integers(len(ROLES)))])
            if hello["role"] in ("publish", "subscribe"):
                hello["room"] = f"soak-{random.integers(ROOMS)}"
            try:
                session = _session(job, part, hello, random)
                await asyncio.wait_for(session, min(LONGEST, job.left + 1.0))
            except (OSError, asyncio.TimeoutError):
                job.counts["ended: connection lost"] += 1
            await asyncio.sleep(PAUSE + float(random.exponential(0.5)))

    await job.all(client)


async def _session(
    job: Job, part: Part, hello: dict[str, object], random: np.random.Generator
) -> None:
    wire = await job.open()
    if wire is None:
        return
    wire.write({"type": "hello", "version": 1, "pcm": "s16", **hello})
    reading = asyncio.ensure_future(_last_message(wire))
    try:
        if hello["role"] == "subscribe":
            await asyncio.wait([reading], timeout=float(random.uniform(0.5, 5.0)))
            if not reading.done():
                wire.write({"type": "end"})
        elif await _is_welcome(reading):
            await part(job, wire, random)
        await asyncio.wait([reading], timeout=10.0)
        job.counts[f"ended: {reading.result() if reading.done() else 'unfinished'}"] += 1
    finally:
        if reading.done():
            wire.writer.close()
        else:
            reading.cancel()
            wire.abort()


async def _is_welcome(reading: asyncio.Future[str]) -> bool:
    """Whether no refusal comes at once."""
    await asyncio.wait([reading], timeout=0.2)
    return not reading.done()


async def _last_message(wire: Wire) -> str:
    """End of the session: ``done`` and its reason, ``error`` and its code, or ``closed``."""
    told = "closed"
    while (message := await wire.receive()) is not None:
        if message["type"] == "done":
            told = f"done {message.get('reason', '')}".strip()
        elif message["type"] == "error":
            told = f"error {message.get('code')}"
    wire.write(b"", CLOSE)
    return told


async def _talk(job: Job, wire: Wire, seconds: float, start: int = 0, pace: float = 1.0) -> int:
    """Sends noise for so long, ``pace`` times as long as it lasts: the next frame's number."""
    noise = np.random.default_rng(job.seed).normal(0, 2000, HOP).astype("<i2").tobytes()
    loop = asyncio.get_running_loop()
    began, frames = loop.time(), int(seconds / HOP_SECONDS)
    for number in range(frames):
        if not job.left:
            return start + number
        await wire.send({"type": "audio", "seq": start + number, "data": noise})
        job.counts["frames"] += 1
        await asyncio.sleep(max(0.0, began + (number + 1) * HOP_SECONDS * pace - loop.time()))
    return start + frames


async def _talk_and_end(job: Job, wire: Wire, random: np.random.Generator) -> None:
    await _talk(job, wire, float(random.uniform(0.3, 6.0)))
    await wire.send({"type": "end"})


async def _talk_and_break(job: Job, wire: Wire, random: np.random.Generator) -> None:
    await _talk(job, wire, float(random.uniform(0.1, 3.0)))
    wire.abort()


async def _talk_and_stall(job: Job, wire: Wire, random: np.random.Generator) -> None:
    sent = await _talk(job, wire, float(random.uniform(0.3, 2.0)))
    wire.go_deaf()
    await asyncio.sleep(min(job.left, float(random.uniform(1.0, 8.0))))
    wire.hear_again()
    await _talk(job, wire, 1.0, sent)
    await wire.send({"type": "end"})


async def _hurry_and_end(job: Job, wire: Wire, random: np.random.Generator) -> None:
    await _talk(job, wire, float(random.uniform(5.0, 40.0)), pace=0.0)
    await wire.send({"type": "end"})
