"""A sentence in a voice, to hear what it is like."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np

from clients.audio.endpoints import open_sink
from clients.audio.pace import Pacer
from clients.offline.local import load_codec
from clients.offline.recordings import timbre_of
from clients.offline.voicebook import BUNDLED
from facodec.config import HOP
from facodec.sound.reading import read_audio

SENTENCE = BUNDLED["slt"]
"""The sentence that every voice says."""


def sentence_in(voice: str, model: str | None = None) -> np.ndarray:
    """The bundled sentence (n,) as a voice says it, by what ``--voice`` takes. Raises ClientError
    and FileError."""
    codec = load_codec(model)
    return codec.convert(read_audio(SENTENCE), timbre_of(voice, codec))


async def play(
    samples: np.ndarray, output: Path | None, device: str | None, reserve: float | None = None
) -> None:
    """Samples (n,) into a file, or through a loudspeaker with this playout margin (s)."""
    sink = open_sink(output, device, reserve, live=False)
    try:
        sink.start()
        pacer = Pacer(time.monotonic())
        for block in np.split(samples, range(HOP, len(samples), HOP)):
            if output is None:
                due = pacer.spoken(len(block), time.monotonic())
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            sink.play(block)
        await sink.drain()
    finally:
        sink.close()
