"""Virtual microphone and loudspeaker that keep time to the sample, without a sound system.

They stand in for PortAudio: the clients' own devices run on them, callbacks and all. Every block is
due at its time, whatever the machine does meanwhile, and each sample's time is known: its index.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE

Audio = NDArray[np.float32]


class Mouth:
    """A mouth that is silent until it is told to say ``said`` (n,), and silent after it."""

    def __init__(self, said: Audio) -> None:
        self._said = said
        self._at: int | None = None
        self._wanted = float("inf")
        self.began: float | None = None
        """Monotonic time, s, of the first sample said."""

    def begin(self, at: float) -> None:
        """Speak with the first block that begins ``at`` (monotonic, s) or later."""
        self._wanted = at

    def block(self, at: float, count: int) -> Audio:
        """The samples (count,) of the block that begins at ``at``."""
        if self._at is None and at >= self._wanted:
            self._at, self.began = 0, at
        if self._at is None:
            return np.zeros(count, np.float32)
        said = self._said[self._at : self._at + count]
        self._at += count
        return np.pad(said, (0, count - len(said)))


class Ear:
    """An ear that keeps all it hears."""

    def __init__(self) -> None:
        self.began: float | None = None
        self._blocks: list[Audio] = []

    def hear(self, at: float, block: Audio) -> None:
        """A block whose first sample is heard ``at`` (monotonic, s)."""
        if self.began is None:
            self.began = at
        self._blocks.append(block)

    @property
    def heard(self) -> Audio:
        return np.concatenate([np.zeros(0, np.float32), *self._blocks])


class Device:
    """A thread that calls back once a block, at its time. ``serve`` gets the time at which the
    block is due, in s."""

    def __init__(self, block: int, serve: Callable[[float], None]) -> None:
        self._period = block / SAMPLE_RATE
        self._serve = serve
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when no call is under way."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            self._serve(due)
            due += self._period
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)


class _Stream:
    """A stream as sounddevice has them."""

    latency = 0.0

    def __init__(self, block: int, serve: Callable[[float], None], finished: Any) -> None:
        self._device = Device(block, serve)
        self._finished = finished

    def start(self) -> None:
        self._device.start()

    def abort(self) -> None:
        self._device.stop()
        self._finished()

    def close(self) -> None:
        self._device.stop()


class PortAudioError(Exception):
    """PortAudio's, which these devices never raise."""


def install(mouth: Mouth | None, ear: Ear | None) -> None:
    """Makes these the only sound devices of this process. Raises RuntimeError where sound devices
    are in use already."""
    if "sounddevice" in sys.modules:
        raise RuntimeError("expected no sound device in use, got one")
    device = {
        "name": "virtual", "hostapi": 0, "default_samplerate": SAMPLE_RATE,
        "max_input_channels": int(mouth is not None), "max_output_channels": int(ear is not None),
    }  # fmt: skip

    def input_stream(*, blocksize: int, callback: Any, finished_callback: Any, **_: Any) -> _Stream:
        assert mouth is not None

        def serve(due: float) -> None:
            # A block is given when its last sample has been heard.
            samples = mouth.block(due - blocksize / SAMPLE_RATE, blocksize)[:, None]
            times = SimpleNamespace(
                currentTime=due, inputBufferAdcTime=due - blocksize / SAMPLE_RATE
            )
            callback(samples, blocksize, times, None)

        return _Stream(blocksize, serve, finished_callback)

    def output_stream(
        *, blocksize: int, callback: Any, finished_callback: Any, **_: Any
    ) -> _Stream:
        assert ear is not None

        def serve(due: float) -> None:
            out = np.zeros((blocksize, 1), np.float32)
            times = SimpleNamespace(currentTime=due, outputBufferDacTime=due)
            callback(out, blocksize, times, None)
            ear.hear(due, out[:, 0])

        return _Stream(blocksize, serve, finished_callback)

    module: Any = ModuleType("sounddevice")
    module.PortAudioError = PortAudioError
    module.query_devices = lambda: [device]
    module.query_hostapis = lambda: [{"name": "virtual"}]
    module.default = SimpleNamespace(device=(0, 0))
    module.check_input_settings = module.check_output_settings = _check
    module.InputStream, module.OutputStream = input_stream, output_stream
    sys.modules["sounddevice"] = module


def _check(*, samplerate: int, **_: Any) -> None:
    if samplerate != SAMPLE_RATE:
        raise ValueError(f"expected {SAMPLE_RATE} Hz, got {samplerate}")
