"""Sources and sinks of sound: devices or files, behind one face each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import numpy as np

from clients.audio.files import AudioReader, AudioWriter
from clients.audio.microphone import Block, Microphone
from clients.audio.pace import Pacer
from clients.audio.speaker import Speaker
from facodec.reasons import shown
from streaming.playout.buffer import PlayoutCounters


class Source(Protocol):
    """Sound on its way in."""

    @property
    def name(self) -> str: ...

    @property
    def overruns(self) -> int:
        """Times that sound was lost because nobody fetched it."""

    @property
    def live(self) -> bool:
        """Whether it is being spoken now, and goes on if nobody fetches it."""

    def blocks(self) -> AsyncIterator[Block]:
        """Blocks until the end or :meth:`stop`. Iterate once."""

    def stop(self) -> None:
        """End at the next block."""

    def close(self) -> None: ...


class Sink(Protocol):
    """Sound on its way out."""

    @property
    def name(self) -> str: ...

    @property
    def counters(self) -> PlayoutCounters | None:
        """Counters of the playout buffer; None for a file, which has none."""

    def start(self) -> None: ...

    def play(
        self, samples: np.ndarray, surplus: int = 0, *, fills: bool = False, pause: bool = False
    ) -> float | None:
        """Take a packet (n,); seconds until its first sample is heard, None for a file. ``pause``:
        nobody speaks in it; ``fills``: made up in place of what did not come; ``surplus``: so many
        samples made up before have to give way."""

    async def drain(self) -> None:
        """Everything has been taken; wait until it has been heard."""

    def close(self) -> None: ...


class FileSource:
    """A sound file, at the pace of speech or as fast as it can be read."""

    def __init__(self, path: Path, *, fast: bool) -> None:
        self._reader = AudioReader(path)
        self._fast = fast
        self._stopped = False
        self.name = shown(path)
        self.overruns = 0
        self.live = False

    async def blocks(self) -> AsyncIterator[Block]:
        pieces = self._reader.pieces() if self._fast else self._reader.blocks()
        pacer = Pacer(time.monotonic())
        for samples in pieces:
            captured = time.monotonic()
            if not self._fast:
                captured = pacer.spoken(len(samples), captured)
                await asyncio.sleep(max(0.0, captured - time.monotonic()))
            if self._stopped:
                break
            yield Block(samples, captured)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._reader.close()


class FileSink:
    """A sound file that gets exactly what arrives: no playout buffer, nothing lost or added."""

    def __init__(self, path: Path) -> None:
        self._writer = AudioWriter(path)
        self.name = shown(path)
        self.counters: PlayoutCounters | None = None

    def start(self) -> None:
        pass

    def play(
        self, samples: np.ndarray, surplus: int = 0, *, fills: bool = False, pause: bool = False
    ) -> float | None:
        self._writer.write(samples)
        return None

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        self._writer.close()


def open_source(path: Path | None, device: str | None, *, fast: bool) -> Source:
    """The file if there is one, else the microphone."""
    return FileSource(path, fast=fast) if path is not None else Microphone(device)


def open_sink(
    path: Path | None, device: str | None, reserve: float | None, *, live: bool = True
) -> Sink:
    """The file if there is one, else the loudspeaker with this playout margin (s). ``live``:
    whether somebody speaks just now."""
    return FileSink(path) if path is not None else Speaker(device, reserve=reserve, live=live)
