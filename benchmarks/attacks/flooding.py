"""Attackers that send more than a live client does, or read less."""

from __future__ import annotations

import asyncio
import time

import msgpack
import numpy as np

from benchmarks.attacks.job import Job
from benchmarks.attacks.wire import PING, Wire, framed
from facodec import bitstream
from facodec.config import CODE_LAYERS, HOP, SAMPLE_RATE, TIMBRE_DIM
from streaming.wire.protocol import MAX_FRAMES_PER_MESSAGE

BATCH = 1 << 16
"""Bytes of small frames that are handed to the socket at once."""
PING_BYTES = 125
LIST_ITEMS = 120_000
ENROLLED_SECONDS = 60


async def unread_pings(job: Job) -> None:
    """Send pings without a pause, read none of the answers."""
    await job.all(_ping)


async def _ping(job: Job, index: int) -> None:
    pings = framed(bytes(PING_BYTES), PING) * (BATCH // PING_BYTES)
    while job.left:
        wire = await job.open()
        if wire is None:
            continue
        wire.go_deaf()
        await _repeat(job, wire, pings, BATCH // PING_BYTES)
        wire.abort()


async def tiny_messages(job: Job) -> None:
    """Send messages that cost more to take than to send, reading all answers. ``word``: ``clock``,
    ``audio`` (with no samples) or ``list`` (120,000 numbers in a field nobody knows)."""
    await job.all(_send_tiny)


async def _send_tiny(job: Job, index: int) -> None:
    message: dict[str, object] = {
        "clock": {"type": "clock", "t0": 0.0},
        "audio": {"type": "audio", "seq": 0, "data": b""},
        "list": {"type": "clock", "t0": 0.0, "more": [0] * LIST_ITEMS},
    }[job.word]
    frame = framed(message)
    count = max(1, BATCH // len(frame))
    while job.left:
        wire = await job.session(role="loopback")
        if wire is None:
            continue
        reading = asyncio.ensure_future(wire.discard())
        await _repeat(job, wire, frame * count, count)
        reading.cancel()
        wire.abort()


async def _repeat(job: Job, wire: Wire, frames: bytes, count: int) -> None:
    """Writes the same frames over and over, as fast as the socket takes them."""
    while job.left:
        wire.writer.write(frames)
        try:
            await asyncio.wait_for(wire.writer.drain(), job.left + 0.01)
        except (OSError, asyncio.TimeoutError):
            return
        if wire.writer.transport.is_closing():
            return
        job.counts["messages"] += count
        await asyncio.sleep(0)


async def faster_than_real_time(job: Job) -> None:
    """Send sound as fast as the socket takes it, reading all that comes back."""
    await job.all(_hurry)


async def _hurry(job: Job, index: int) -> None:
    while job.left:
        wire = await job.session(role="loopback", pcm="s16")
        if wire is None:
            continue
        reading = asyncio.ensure_future(wire.discard())
        await _pour(job, wire)
        reading.cancel()
        wire.abort()


async def flood_unread(job: Job) -> None:
    """Send sound as fast as the socket takes it and read nothing, until killed."""
    await job.all(_flood)


async def _flood(job: Job, index: int) -> None:
    while job.left:
        wire = await job.session(role="loopback", pcm="s16")
        if wire is None:
            continue
        wire.go_deaf()
        await _pour(job, wire)


async def _pour(job: Job, wire: Wire, until: int | None = None) -> None:
    """Sends noise in the largest messages there are, ``until`` so many frames or the time is
    over."""
    frames, seq = MAX_FRAMES_PER_MESSAGE, 0
    noise = np.random.default_rng(job.seed).normal(0, 3000, frames * HOP).astype("<i2").tobytes()
    while job.left and (until is None or seq < until):
        try:
            message = {"type": "audio", "seq": seq, "data": noise}
            await asyncio.wait_for(wire.send(message), job.left + 0.01)
        except (OSError, asyncio.TimeoutError):
            return
        if wire.writer.transport.is_closing():
            return
        seq += frames
        job.counts["frames"] += frames
        await asyncio.sleep(0)


async def enroll(job: Job) -> None:
    """Enrol a minute of sound, as fast as the socket takes it, over and over."""
    await job.all(_enroll)


async def _enroll(job: Job, index: int) -> None:
    while job.left:
        wire = await job.session(role="enroll", pcm="s16")
        if wire is None:
            continue
        await _pour(job, wire, ENROLLED_SECONDS * SAMPLE_RATE // HOP)
        wire.write({"type": "end"})
        told = None
        while (answer := await wire.receive()) is not None:
            told = answer
        job.counts[str(told["type"]) if told else "closed"] += 1
        wire.abort()


async def publish(job: Job) -> None:
    """Publish into the room ``word`` at the pace of speech, as any publisher does."""
    await job.all(_publish)


async def _publish(job: Job, index: int) -> None:
    wire = await job.session(role="publish", room=job.word, pcm="s16")
    if wire is None:
        return
    reading = asyncio.ensure_future(wire.discard())
    noise = np.random.default_rng(job.seed).normal(0, 3000, HOP).astype("<i2").tobytes()
    began, seq = time.monotonic(), 0
    while job.left and not reading.done():
        await wire.send({"type": "audio", "seq": seq, "data": noise})
        seq += 1
        job.counts["frames"] += 1
        await asyncio.sleep(max(0.0, began + seq * HOP / SAMPLE_RATE - time.monotonic()))
    wire.abort()


async def hasty_publisher(job: Job) -> None:
    """Publish into a room as fast as the socket takes it. ``word``: ``codes`` or ``voice``, which
    is also the room's name."""
    await job.all(_publish_in_haste)


async def _publish_in_haste(job: Job, index: int) -> None:
    wire = await job.session(role="publish", room=job.word, input="codes")
    if wire is None:
        return
    reading = asyncio.ensure_future(wire.discard())
    frames, seq = MAX_FRAMES_PER_MESSAGE, 0
    data = bytes(bitstream.packed_size(CODE_LAYERS, frames))
    voices = [np.full(TIMBRE_DIM, value, "<f2").tobytes() for value in (0.1, 0.2)]
    while job.left and not reading.done():
        message: dict[str, object] = {"type": "codes", "seq": seq, "n": frames, "data": data}
        if job.word == "voice":
            message = {"type": "voice", "data": voices[seq % 2]}
        try:
            await asyncio.wait_for(wire.send(message), job.left + 0.01)
        except (OSError, asyncio.TimeoutError):
            break
        seq += 1 if job.word == "voice" else frames
        job.counts["messages"] += 1
    wire.abort()


async def deaf_listener(job: Job) -> None:
    """Listen to the room ``word`` and read nothing; at the end, count what the server and the
    kernel held for it (``held_bytes``)."""
    await job.all(_go_deaf)


async def _go_deaf(job: Job, index: int) -> None:
    wire = await job.session(role="subscribe", room=job.word, output="pcm")
    if wire is None:
        return
    wire.go_deaf()
    await asyncio.sleep(max(0.0, job.left - 1.0))
    held, wait = 0, 0.5
    wire.hear_again()
    while True:
        try:
            data = await asyncio.wait_for(wire.reader.read(1 << 20), wait)
        except (OSError, asyncio.TimeoutError):
            break
        # What is read late was held; what comes at the pace of speech thereafter was not.
        if not data or not job.left:
            break
        held, wait = held + len(data), 0.005
    job.counts["held_bytes"] += held
    wire.abort()


def packed_garbage(random: np.random.Generator) -> bytes:
    """Bytes that are hardly a message: random, or a map with the wrong things in it."""
    kind = int(random.integers(4))
    if kind == 0:
        return random.bytes(int(random.integers(1, 2000)))
    names = ("hello", "audio", "codes", "voice", "clock", "end", "nonsense")
    values: tuple[object, ...] = (None, -1, 2**63, float("nan"), b"\xff" * 9, "x" * 99, [[[]]], {})
    picked = values[int(random.integers(len(values)))]
    fields = ("seq", "data", "n", "t", "t0", "role", "room", "version", "layers", "voice")
    message = {name: picked for name in fields if random.random() < 0.5}
    packed: bytes = msgpack.packb({"type": names[int(random.integers(len(names)))], **message})
    return packed if kind < 3 else packed[: len(packed) // 2]
