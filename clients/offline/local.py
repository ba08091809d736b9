"""Encoding and decoding in this process, in a thread of its own, so that only codes travel."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

import facodec
from clients.errors import ClientError
from clients.library.packets import CodesPacket, PausePacket, VoicePacket
from facodec.codec import Codec
from facodec.config import MIN_LAYERS
from facodec.identity import belonging
from streaming.engine.pipeline import Decode, Encode, Pipeline, Result, prepare_thread
from streaming.wire.media import Frames, Media, Pause, Sound, Timbre
from streaming.wire.session import REMEMBERED


@dataclass(frozen=True)
class Computed:
    """Media that came out, and the seconds from asking to having it. ``talker``: timbre (256,) of
    who was heard, told at the end of a stream."""

    media: list[Media]
    seconds: float
    talker: np.ndarray | None = None


class LocalCodec:
    """One codec and one model thread: calls queue up in order, the event loop goes on.

    The queue is bounded by its callers, who wait for each answer."""

    def __init__(self, model: str | None = None) -> None:
        """Raises ClientError where there is no such model."""
        self.codec: Codec = load_codec(model)
        self._thread = ThreadPoolExecutor(1, "local-codec", initializer=prepare_thread)

    def encoder(self, layers: int, talker: np.ndarray | None = None) -> LocalEncoder:
        """``talker`` (256,): who is known to be about to talk."""
        return LocalEncoder(self, Pipeline([Encode(self.codec, layers, talker)]))

    def decoder(self, seed: int) -> LocalDecoder:
        return LocalDecoder(self, Pipeline([Decode(self.codec, seed)]))

    async def run(self, pipeline: Pipeline, item: Media | None) -> Computed:
        """Push ``item`` through in the model thread; None flushes."""
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        result: Result = await loop.run_in_executor(
            self._thread, pipeline.flush if item is None else lambda: pipeline.push(item)
        )
        heard = result.talker
        talker = None if heard is None else belonging(heard.timbre, self.codec.identity)
        return Computed(result.media, time.monotonic() - started, talker)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class LocalEncoder:
    """Sound in; codes and estimates of the talker's voice out."""

    def __init__(self, local: LocalCodec, pipeline: Pipeline) -> None:
        self._local = local
        self._pipeline = pipeline

    async def push(self, samples: np.ndarray) -> Computed:
        return await self._local.run(self._pipeline, Sound(samples))

    async def flush(self) -> Computed:
        return await self._local.run(self._pipeline, None)


class LocalDecoder:
    """Codes and voices in, sound out."""

    def __init__(self, local: LocalCodec, pipeline: Pipeline) -> None:
        self._local = local
        self._pipeline = pipeline
        self._newest: deque[Frames] = deque(maxlen=REMEMBERED)

    async def push(self, packet: CodesPacket | VoicePacket | PausePacket) -> Computed:
        if isinstance(packet, VoicePacket):
            return await self._local.run(self._pipeline, Timbre(packet.timbre, packet.exact))
        if isinstance(packet, PausePacket):
            pause = Pause(packet.seq, packet.frames, self._newest, MIN_LAYERS, None)
            return await self._local.run(self._pipeline, pause)
        frames = Frames(packet.codes)
        self._newest.append(frames)
        return await self._local.run(self._pipeline, frames)

    async def flush(self) -> Computed:
        return await self._local.run(self._pipeline, None)


def samples_of(computed: Computed) -> np.ndarray:
    """The sound among the media, float32 (n,)."""
    parts = [item.samples for item in computed.media if isinstance(item, Sound)]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def load_codec(model: str | None) -> Codec:
    """The model by name or folder, the bundled one for None. Raises ClientError."""
    prepare_thread()
    try:
        return facodec.load(model) if model is not None else facodec.load()
    except (ValueError, OSError) as error:
        raise ClientError(f"the model cannot be loaded: {error}") from error
