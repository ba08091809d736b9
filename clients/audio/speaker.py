"""The loudspeaker as a sink of 16 kHz packets, behind the adaptive playout buffer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from clients.audio.devices import DeviceFormat, lost, negotiate, open_stream, start_stream
from clients.audio.heartbeat import Heartbeat
from clients.audio.microphone import PLAUSIBLE_DELAY
from clients.audio.resample import LiveResampler
from facodec.config import SAMPLE_RATE
from streaming.playout.buffer import PlayoutBuffer, PlayoutCounters, PlayoutSettings

DRAIN_POLL = 0.01
DRAIN_DEADLINE = 3.0


class Speaker:
    """An output device. The callback copies out of the playout buffer and does nothing else."""

    def __init__(
        self, device: str | None = None, *, reserve: float | None = None, live: bool = True
    ) -> None:
        """``device``: number, name or part of a name; None is the system's default.
        ``reserve``: smallest margin of the playout buffer, in s; None is its default. ``live``:
        whether the newest is worth most after a stall; where nobody waits for it, all is heard."""
        self._shape: DeviceFormat = negotiate(device, "output")
        rate = self._shape.rate
        settings = PlayoutSettings(rate) if reserve is None else PlayoutSettings(rate, reserve)
        self._playout = PlayoutBuffer(settings if live else settings.unhurried())
        self._resampler = LiveResampler(SAMPLE_RATE, rate)
        self._device_delay = 0.0
        self._heartbeat = Heartbeat(time.monotonic())
        self._finished = False
        self._closing = False
        self._stream: Any = open_stream(
            "output", self._shape, callback=self._fill, finished_callback=self._finish
        )

    @property
    def name(self) -> str:
        return self._shape.name

    @property
    def counters(self) -> PlayoutCounters:
        return self._playout.counters

    def start(self) -> None:
        start_stream(self._stream, "output", self.name)

    def play(
        self, samples: np.ndarray, surplus: int = 0, *, fills: bool = False, pause: bool = False
    ) -> float:
        """Take a packet (n,) at 16 kHz; returns the seconds until its first sample is heard.
        ``fills``, ``pause``, ``surplus`` (at 16 kHz): see :meth:`PlayoutBuffer.push`.

        Raises DeviceError if the device went away."""
        now = time.monotonic()
        if self._finished or self._heartbeat.lost(now):
            raise lost("output", self.name)
        surplus = round(surplus * self._shape.rate / SAMPLE_RATE)
        changed = self._resampler.push(samples)
        wait = self._playout.push(changed, now, surplus, fills=fills, pause=pause)
        return wait + self._resampler.delay + self._device_delay

    async def drain(self) -> None:
        """Play what is left; gives up after a deadline, so that a dead device cannot hang us."""
        self._playout.push(self._resampler.flush(), time.monotonic())
        self._playout.end()
        deadline = time.monotonic() + DRAIN_DEADLINE
        while not self._playout.drained and not self._finished and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_POLL)
        await asyncio.sleep(self._device_delay)

    def close(self) -> None:
        self._closing = True
        self._stream.abort()
        self._stream.close()

    def _fill(self, out: np.ndarray, frames: int, times: Any, status: Any) -> None:
        delay = times.outputBufferDacTime - times.currentTime
        self._device_delay = delay if 0 <= delay <= PLAUSIBLE_DELAY else self._stream.latency
        self._heartbeat.beat()
        self._playout.pull_into(out[:, 0])
        out[:, 1:] = out[:, :1]

    def _finish(self) -> None:
        self._finished = not self._closing
