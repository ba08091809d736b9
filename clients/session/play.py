"""A recording on the loudspeaker, at the pace of speech."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from clients.audio.endpoints import Sink
from clients.audio.pace import Pacer
from clients.offline.playback import Part
from clients.offline.recordings import Playback, open_playback
from clients.session.signals import signals_told
from facodec.config import SAMPLE_RATE

STEP = SAMPLE_RATE // 20
"""Samples handed to the loudspeaker at a time."""
AHEAD = 4
"""Pieces of sound that are decoded before they are due."""
LAST_PIECE = 0.5
"""Seconds for the thread that decodes to come to its end."""
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
    with signals_told(stop.set), _Ahead(playback.pieces()) as ahead:
        samples = 0
        pacer: Pacer | None = None
        sink.start()
        while not stop.is_set() and (audio := await ahead.get(stop)) is not None:
            pacer = pacer or Pacer(time.monotonic())
            for at in range(0, len(audio), STEP):
                step = audio[at : at + STEP]
                due = pacer.spoken(len(step), time.monotonic())
                await _until(due, stop)
                if stop.is_set():
                    break
                sink.play(step)
                samples += len(step)
        if not stop.is_set():
            playback.check_heard(samples)
            await sink.drain()


class _Ahead:
    """Pieces decoded in a thread, since the loudspeaker must not wait for it; a daemon, since
    nobody waits for a pipe that gives nothing."""

    def __init__(self, pieces: Iterator[np.ndarray]) -> None:
        self._pieces = pieces
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Queue[Piece] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._over = False
        self._thread = threading.Thread(target=self._decode, name="decoding", daemon=True)

    def __enter__(self) -> _Ahead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._room.release()
        self._thread.join(LAST_PIECE)

    async def get(self, stop: asyncio.Event) -> np.ndarray | None:
        """The next piece; None at the end or when told to stop. Raises what decoding did."""
        getting = asyncio.ensure_future(self._ready.get())
        told = asyncio.ensure_future(stop.wait())
        await asyncio.wait({getting, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not getting.done():
            getting.cancel()
            return None
        piece = getting.result()
        self._room.release()
        if isinstance(piece, Exception):
            raise piece
        return piece

    def _decode(self) -> None:
        piece: Piece = None
        try:
            while self._room.acquire() and not self._over:
                if (piece := next(self._pieces, None)) is None:
                    break
                self._loop.call_soon_threadsafe(self._ready.put_nowait, piece)
        except Exception as error:
            piece = error
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._ready.put_nowait, piece)


async def _until(due: float, stop: asyncio.Event) -> None:
    wait = due - time.monotonic()
    if wait > 0:
        try:
            await asyncio.wait_for(stop.wait(), wait)
        except asyncio.TimeoutError:
            return
