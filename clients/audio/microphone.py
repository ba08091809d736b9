"""The microphone as an asynchronous source of 16 kHz blocks with capture stamps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.audio.devices import DeviceFormat, lost, negotiate, open_stream, start_stream
from clients.audio.heartbeat import LOOK_EVERY, Heartbeat
from clients.audio.resample import LiveResampler
from facodec.config import HOP, SAMPLE_RATE
from streaming.playout.ring import SampleRing

RING_SECONDS = 1.0
"""Most sound that waits for the pump. Policy: when full the newest samples are dropped and counted
as an overrun; a pump one second behind has lost the thread anyway."""
PLAUSIBLE_DELAY = 1.0
"""Some drivers report nonsense as capture time; a longer delay than this is one."""


@dataclass(frozen=True)
class Block:
    """Sound on its way in: mono float32 (n,) at 16 kHz; ``captured`` is the monotonic time (s) at
    which its last sample was heard, ``denoise`` the part of its age (s) that taking the noise out
    of it has cost."""

    samples: np.ndarray
    captured: float
    denoise: float = 0.0


class CaptureRing:
    """Samples that the audio callback writes and the pump reads, with the time of the newest
    sample."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.overruns = 0
        self._ring = SampleRing(round(RING_SECONDS * rate))
        self._mark = (0, 0.0)

    def write(self, samples: np.ndarray, heard: float) -> None:
        """Callback: samples (n,), the last of which was heard at ``heard`` (monotonic, s)."""
        taken = self._ring.write(samples)
        if taken < len(samples):
            self.overruns += 1
            heard -= (len(samples) - taken) / self.rate
        self._mark = (self._ring.written, heard)  # one assignment: the pump sees both or none

    def read(self) -> tuple[np.ndarray, float]:
        """Pump: all that waits, and the time at which the last of it was heard."""
        out = np.empty(self._ring.level, np.float32)
        self._ring.read_into(out)
        index, heard = self._mark
        return out, heard + (self._ring.read - index) / self.rate


class BlockCutter:
    """Device samples in, 16 kHz blocks of a fixed size out, each with its capture time."""

    def __init__(self, rate: int, size: int = HOP) -> None:
        self._resampler = LiveResampler(rate, SAMPLE_RATE)
        self._size = size
        self._left = np.zeros(0, np.float32)

    def push(self, samples: np.ndarray, heard: float) -> list[Block]:
        self._left = np.concatenate([self._left, self._resampler.push(samples)])
        heard -= self._resampler.delay
        blocks = []
        while len(self._left) >= self._size:
            block, self._left = self._left[: self._size], self._left[self._size :]
            blocks.append(Block(block, heard - len(self._left) / SAMPLE_RATE))
        return blocks

    def rest(self) -> np.ndarray:
        return np.concatenate([self._left, self._resampler.flush()])


class Microphone:
    """An input device. Its callback copies to a ring and rings a bell, nothing else."""

    live = True

    def __init__(self, device: str | None = None) -> None:
        """``device``: number, name or part of a name; None is the system's default."""
        self._shape: DeviceFormat = negotiate(device, "input")
        self._ring = CaptureRing(self._shape.rate)
        self._cutter = BlockCutter(self._shape.rate)
        self._bell = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._heartbeat = Heartbeat(time.monotonic())
        self._stopped = False
        self._finished = False
        self._stream: Any = open_stream(
            "input", self._shape, callback=self._heard, finished_callback=self._finish
        )

    @property
    def name(self) -> str:
        return self._shape.name

    @property
    def overruns(self) -> int:
        """Times that samples were lost because nobody fetched them."""
        return self._ring.overruns

    async def blocks(self) -> AsyncIterator[Block]:
        """Blocks of one hop until :meth:`stop`. Raises DeviceError if the device goes away."""
        start_stream(self._stream, "input", self.name)
        try:
            while not self._stopped:
                await self._wait()
                samples, heard = self._ring.read()
                for block in self._cutter.push(samples, heard):
                    yield block
        finally:
            self._stream.abort()
        yield Block(self._cutter.rest(), time.monotonic())

    def stop(self) -> None:
        self._stopped = True
        self._bell.set()

    def close(self) -> None:
        self._stream.close()

    async def _wait(self) -> None:
        while not self._bell.is_set():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._bell.wait(), LOOK_EVERY)
            if self._heartbeat.lost(time.monotonic()):
                raise lost("input", self.name)
        self._bell.clear()
        if self._finished and not self._stopped:
            raise lost("input", self.name)

    def _heard(self, data: np.ndarray, frames: int, times: Any, status: Any) -> None:
        samples = data[:, 0] if data.shape[1] == 1 else data.mean(axis=1)
        delay = times.currentTime - times.inputBufferAdcTime - frames / self._shape.rate
        if not 0 <= delay <= PLAUSIBLE_DELAY:
            delay = self._stream.latency
        self._ring.write(samples, time.monotonic() - delay)
        self._heartbeat.beat()
        self._loop.call_soon_threadsafe(self._bell.set)

    def _finish(self) -> None:
        self._finished = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._bell.set)
