"""A recording on the loudspeaker, at the pace of speech."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clients.audio.endpoints import Sink
from clients.audio.pace import Pacer
from clients.offline.playback import Part
from clients.offline.recordings import Playback, open_playback
from clients.session.talk import ending_signals
from facodec.config import SAMPLE_RATE

STEP = SAMPLE_RATE // 20
"""Samples handed to the loudspeaker at a time."""
AHEAD = 4
"""Pieces of sound that are decoded before they are due."""
Piece = np.ndarray | Exception | None


def play(source: Path, part: Part, sink: Sink, *, voice: str | None, model: str | None) -> bool:
    """Plays until the end or a signal, and closes the sink; returns whether something was damaged.
    Raises ClientError or FileError."""
    try:
        with open_playback(source, part, voice=voice, model=model) as playback:
            asyncio.run(_play(playback, sink))
    finally:
        sink.close()
    return playback.damaged


async def _play(playback: Playback, sink: Sink) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, stop.set)
    samples = 0
    pieces = playback.pieces()
    ready: asyncio.Queue[Piece] = asyncio.Queue(AHEAD)
    decoding = asyncio.create_task(_decode(pieces, ready))
    pacer: Pacer | None = None
    sink.start()
    while not stop.is_set() and (audio := await _next(ready, stop)) is not None:
        pacer = pacer or Pacer(time.monotonic())
        for at in range(0, len(audio), STEP):
            step = audio[at : at + STEP]
            due = pacer.spoken(len(step), time.monotonic())
            await _until(due, stop)
            if stop.is_set():
                break
            sink.play(step)
            samples += len(step)
    decoding.cancel()
    await asyncio.gather(decoding, return_exceptions=True)
    if not stop.is_set():
        playback.check_heard(samples)
        await sink.drain()


async def _decode(pieces: Iterator[np.ndarray], ready: asyncio.Queue[Piece]) -> None:
    """Decodes in a thread: the loudspeaker must not wait for it."""
    loop = asyncio.get_running_loop()
    piece: Piece = None
    try:
        while (piece := await loop.run_in_executor(None, next, pieces, None)) is not None:
            await ready.put(piece)
    except Exception as error:
        piece = error
    await ready.put(piece)


async def _next(ready: asyncio.Queue[Piece], stop: asyncio.Event) -> np.ndarray | None:
    """The next piece; None at the end or when told to stop. Raises what decoding did."""
    getting, told = asyncio.ensure_future(ready.get()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({getting, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not getting.done():
        getting.cancel()
        return None
    piece = getting.result()
    if isinstance(piece, Exception):
        raise piece
    return piece


async def _until(due: float, stop: asyncio.Event) -> None:
    wait = due - time.monotonic()
    if wait > 0:
        try:
            await asyncio.wait_for(stop.wait(), wait)
        except asyncio.TimeoutError:
            return
