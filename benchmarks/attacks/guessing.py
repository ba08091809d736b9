"""Attackers that try what should be refused: tokens, frames that are none."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np

from benchmarks.attacks.flooding import packed_garbage
from benchmarks.attacks.job import PAUSE, Job
from benchmarks.attacks.wire import PATIENCE, Wire, exchange, framed, handshake

SESSIONS_SPOILT = 0.5
"""Share of the connections with garbage that begin as good sessions."""


async def guess_tokens(job: Job) -> None:
    """Try one token after another, as fast as the answers come: ``answered`` counts these."""
    await job.all(_guess)


async def _guess(job: Job, index: int) -> None:
    number = 0
    while job.left:
        guess = replace(job.target, token=f"guess-{index}-{number}")
        number += 1
        status, _ = await exchange(guess, handshake(guess), min(PATIENCE, job.left + 0.01))
        job.counts[f"answered {status}" if status else "unanswered"] += 1
        job.counts["answered"] += bool(status)
        if not status:
            await asyncio.sleep(PAUSE)


async def garbage_frames(job: Job) -> None:
    """Send frames and messages that are none, before hello and in the middle of good sessions."""
    await job.all(_spoil)


async def _spoil(job: Job, index: int) -> None:
    random = np.random.default_rng((job.seed, index))
    while job.left:
        wire = await _victim(job, random)
        if wire is None:
            continue
        reading = asyncio.ensure_future(wire.discard())
        began = time.monotonic()
        try:
            while job.left and not reading.done() and time.monotonic() - began < 1.0:
                wire.writer.write(_garbage(random))
                await asyncio.wait_for(wire.writer.drain(), job.left + 0.01)
                job.counts["messages"] += 1
                await asyncio.wait([reading], timeout=0.002)
        except (OSError, asyncio.TimeoutError):
            pass
        reading.cancel()
        wire.abort()


async def _victim(job: Job, random: np.random.Generator) -> Wire | None:
    if random.random() < SESSIONS_SPOILT:
        return await job.session(role="loopback")
    return await job.open()


def _garbage(random: np.random.Generator) -> bytes:
    kind = int(random.integers(5))
    if kind == 0:  # bytes that are no frame
        return random.bytes(int(random.integers(1, 200)))
    if kind == 1:  # reserved bits and opcodes
        return bytes([int(random.integers(256))]) + framed(b"x" * 20)[1:]
    if kind == 2:  # a length that is a lie
        return bytes([0x82, 0xFF]) + b"\x7f" + b"\xff" * 7 + b"\0\0\0\0"
    if kind == 3:
        return framed(random.bytes(30), opcode=1)
    return framed(packed_garbage(random))
