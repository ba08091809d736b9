"""Encoding and decoding in this process, in a thread of its own, so that only codes travel."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

import facodec
from clients.errors import ClientError, UsageError
from clients.library.packets import CodesPacket, LostPacket, PausePacket, VoicePacket
from facodec.arrays import check_timbre
from facodec.codec import Codec
from facodec.config import MIN_LAYERS
from facodec.identity import belonging, model_of, need_model
from facodec.link.repair import SPOKEN_ON, spoken_on
from facodec.names import anonymous_seed, is_anonymous
from facodec.reasons import named_why
from facodec.streams.batching import Work, run_alone
from facodec.streams.conversion import raised
from facodec.streams.converter import Conversion, Converted, ConverterLine
from facodec.streams.lanes import prepare_thread
from facodec.streams.lines import NEUTRAL, DecoderLine
from facodec.streams.talkers import Heard, Spoken, TalkerLine
from streaming.wire.media import Frames, Media, Pause, Reduced, Sound, Timbre
from streaming.wire.session import REMEMBERED

T = TypeVar("T")


@dataclass(frozen=True)
class Computed:
    """Media that came out, and the seconds from asking to having it. ``talker``: timbre (256,) of
    who was heard, told at the end of a stream."""

    media: list[Media]
    seconds: float
    talker: np.ndarray | None = None

    @property
    def sound(self) -> np.ndarray:
        """The sound among the media, float32 (n,)."""
        parts = [item.samples for item in self.media if isinstance(item, Sound)]
        return np.concatenate([np.zeros(0, np.float32), *parts])


class LocalCodec:
    """One codec and one model thread: calls queue up in order, the event loop goes on.

    The queue is bounded by its callers, who wait for each answer."""

    def __init__(self, model: str | None = None) -> None:
        """Raises ClientError where there is no such model."""
        self.codec: Codec = load_codec(model)
        self._thread = ThreadPoolExecutor(1, "local-codec", initializer=prepare_thread)

    def encoder(self, layers: int, talker: np.ndarray | None = None) -> LocalEncoder:
        """``talker`` (256,): who is known to be about to talk."""
        return LocalEncoder(self, layers, talker)

    def anonymizer(
        self, name: str, pitch: float | None = None, talker: np.ndarray | None = None
    ) -> LocalAnonymizer:
        """Makes an encoder, like :meth:`encoder`, for codes of a conversion into the voice of
        nobody of this name. Raises ClientError where the model has none."""
        return LocalAnonymizer(self, self.timbre(name, talker), pitch, talker)

    def timbre(self, voice: np.ndarray | str, talker: np.ndarray | None = None) -> np.ndarray:
        """The timbre (256,) that a voice means: itself, that of a name of the model's, or one of
        nobody. Raises UsageError where the model has none of that name, and ModelMismatch."""
        if not isinstance(voice, str):
            need_model("the voice was", model_of(voice), self.codec.identity)
            return voice
        if is_anonymous(voice):
            try:
                return self.codec.anonymous_voice(talker, anonymous_seed(voice))
            except ValueError as error:
                raise ClientError(str(error)) from error
        if voice not in self.codec.voices:
            raise UsageError(f"no voice of the name {voice!r} is known here")
        return self.codec.voices[voice]

    def decoder(self, seed: int) -> LocalDecoder:
        return LocalDecoder(self, seed)

    async def run(self, work: Work[T]) -> tuple[T, float]:
        """Runs a stream's work in the model thread -> its result, and the seconds until it was
        there."""
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._thread, lambda: run_alone(work))
        return result, time.monotonic() - started

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class LocalEncoder:
    """Sound in; codes of ``layers`` layers and estimates of the talker's voice out."""

    def __init__(self, local: LocalCodec, layers: int, talker: np.ndarray | None) -> None:
        self._local, self._layers = local, layers
        self._line = TalkerLine(local.codec.lanes, talker)

    async def push(self, samples: np.ndarray) -> Computed:
        spoken, seconds = await self._local.run(self._line.push(samples))
        return Computed(self._media(spoken), seconds)

    async def flush(self) -> Computed:
        spoken, seconds = await self._local.run(self._line.flush())
        found = self._line.heard.talker
        talker = None if found is None else belonging(found[0], self._local.codec.identity)
        return Computed(self._media(spoken), seconds, talker)

    def _media(self, parts: list[Spoken]) -> list[Media]:
        media: list[Media] = []
        for spoken in parts:
            if spoken.timbre is not None:
                media.append(Timbre(spoken.timbre, exact=False))
            media.append(Frames(spoken.codes[: self._layers]))
        return media


class LocalAnonymizer:
    """Sound in; converted codes out, and before the first the voice (256,) that they are in."""

    def __init__(
        self,
        local: LocalCodec,
        voice: np.ndarray,
        pitch: float | None,
        talker: np.ndarray | None,
    ) -> None:
        lanes = local.codec.lanes
        self._local = local
        self._heard = Heard()
        self._conversion = Conversion(lanes, check_timbre(voice), pitch, talker, steer=False)
        self._line = ConverterLine(lanes, self._conversion, self._heard)
        self._to_announce: list[Media] = [Timbre(self._conversion.vector, exact=True)]

    def aim(self, voice: np.ndarray, shift: float = 0.0) -> None:
        """Another voice (256,) from the next frame on, so many semitones higher where the model
        follows the source."""
        if shift and self._local.codec.model.follows_source:
            voice = raised(voice, shift)
        self._conversion.aim(check_timbre(voice))
        self._to_announce = [Timbre(self._conversion.vector, exact=True)]

    async def push(self, samples: np.ndarray) -> Computed:
        converted, seconds = await self._local.run(self._line.push(samples))
        return Computed(self._media(converted), seconds)

    async def flush(self) -> Computed:
        converted, seconds = await self._local.run(self._line.flush())
        found = self._heard.talker
        talker = None if found is None else belonging(found[0], self._local.codec.identity)
        return Computed(self._media(converted), seconds, talker)

    def _media(self, parts: list[Converted]) -> list[Media]:
        media: list[Media] = [*self._to_announce, *(Frames(part.codes) for part in parts)]
        self._to_announce = []
        return media


AnyEncoder: TypeAlias = LocalEncoder | LocalAnonymizer


class LocalDecoder:
    """Codes and voices in, sound out."""

    def __init__(self, local: LocalCodec, seed: int) -> None:
        self._local = local
        self._line = DecoderLine(local.codec.lanes, seed)
        self._timbre = NEUTRAL
        self._newest: deque[Frames] = deque(maxlen=REMEMBERED)

    async def push(self, packet: CodesPacket | VoicePacket | PausePacket | LostPacket) -> Computed:
        if isinstance(packet, VoicePacket):
            self._timbre = check_timbre(packet.timbre)
            return Computed([], 0.0)
        frames = self._frames(packet)
        if not frames.frames:  # a pause that begins
            return Computed([], 0.0)
        return await self._sound(self._line.push(frames.heard, self._timbre))

    def _frames(self, packet: CodesPacket | PausePacket | LostPacket) -> Frames:
        if isinstance(packet, PausePacket):
            return Pause(packet.seq, packet.frames, self._newest, MIN_LAYERS, None)
        if isinstance(packet, LostPacket):
            return self._concealed(packet)
        known = packet.layers
        frames = Frames(packet.codes) if known is None else Reduced(packet.codes, known)
        self._newest.append(frames)
        return frames

    def _concealed(self, packet: LostPacket) -> Frames:
        last = self._newest[-1].codes[:, -1] if self._newest else None
        says_level = self._local.codec.says_level
        spoken = spoken_on(last, min(packet.frames, SPOKEN_ON), says_level=says_level)
        left, end = packet.frames - spoken.shape[1], packet.seq + packet.frames
        pause = Pause(end - left, left, self._newest, MIN_LAYERS, None)
        return Frames(np.concatenate([spoken, pause.codes[:MIN_LAYERS]], axis=1))

    async def flush(self) -> Computed:
        return await self._sound(self._line.flush(self._timbre))

    async def _sound(self, work: Work[np.ndarray]) -> Computed:
        samples, seconds = await self._local.run(work)
        return Computed([Sound(samples)], seconds)


def load_codec(model: str | None) -> Codec:
    """The model by name or folder, the bundled one for None. Raises ClientError."""
    prepare_thread()
    try:
        return facodec.load(model) if model is not None else facodec.load()
    except (ValueError, OSError) as error:
        raise ClientError(f"the model cannot be loaded: {named_why(error)}") from error
