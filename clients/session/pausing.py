"""Pauses of a live command: which frames are left out, and when the noise in their place is due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from clients.library.packets import CodesPacket, LostPacket, Packet, PausePacket
from facodec.config import HOP
from facodec.link.repair import SPOKEN_ON
from streaming.wire.pausing import PauseClock

SOON = 0.005
"""Seconds that a packet may be late without frames in its place, where these are taken back: well
within the margin of the playout, so that no gap is heard while they are decoded."""


BRIEF = 4
"""Frames from which it is worth it to begin a pause in a block: to tell of it takes as
much as these."""


@dataclass(frozen=True, eq=False)
class Run:
    """Frames in a row that are sent, ``codes`` (K, n), or left out, None. ``after``: frames of the
    same block after them; ``noise``: what is to be told of those left out."""

    codes: np.ndarray | None
    frames: int
    after: int = 0
    noise: bytes = b""


class SpeechGate:
    """Says which frames made here are worth sending."""

    def __init__(self) -> None:
        from facodec.link.activity import VoiceActivity
        from facodec.link.comfort import Describer

        self._activity, self._describer = VoiceActivity(), Describer()
        self._samples = np.zeros(0, np.float32)
        self._pauses = False

    def hear(self, samples: np.ndarray) -> None:
        """Samples (n,) whose frames are still to come."""
        self._samples = np.concatenate([self._samples, samples])

    def judge(self, codes: np.ndarray) -> list[Run]:
        """Splits the next frames, codes (K, n): all from the first in which there is speech to the
        last are to be sent; of the others the noise is to be told, nothing where it is as before.
        """
        count = codes.shape[1]
        heard, self._samples = self._samples[: count * HOP], self._samples[count * HOP :]
        hops = np.pad(heard, (0, count * HOP - len(heard))).reshape(count, HOP)
        active, told = [], []
        for hop, prosody in zip(hops, codes[0].tolist(), strict=True):
            active.append(self._activity.push(hop, prosody))
            told.append(self._describer.push(self._activity.powers, active[-1]))
        begin, end = self._bounds(active)
        noise = [b"" if each is None else each.to_bytes() for each in told]
        self._pauses = end < count
        parts = [(0, begin, False), (begin, end, True), (end, count, False)]
        return [
            Run(
                codes[:, first:last] if sent else None,
                last - first,
                count - last,
                b"" if sent else next(filter(None, reversed(noise[first:last])), b""),
            )
            for first, last, sent in parts
            if last > first
        ]

    def _bounds(self, active: list[bool]) -> tuple[int, int]:
        """The first frame that is sent, and the first after the last."""
        count = len(active)
        if not any(active):
            return count, count
        begin, end = active.index(True), count - active[::-1].index(True)
        begin = begin if self._pauses or begin >= BRIEF else 0
        return begin, end if count - end >= BRIEF else count


class Filling(PausePacket):
    """Frames of a pause that nobody has told yet: what comes may have their place."""


@dataclass(frozen=True)
class Surplus:
    """The packet that follows has the place of the last ``frames`` frames of :class:`Filling`."""

    frames: int


Piece: TypeAlias = Packet | Surplus


class PausePacer:
    """Turns pauses, which are told once a second, into pieces at the pace of speech."""

    def __init__(self) -> None:
        self._clock = PauseClock(SOON, None)
        self._seq = 0

    def take(self, packet: Packet, now: float) -> list[Piece]:
        """Takes a packet and returns what is to be heard now."""
        if isinstance(packet, CodesPacket):
            surplus = self._clock.on_speech(packet.codes.shape[1])
            self._clock.take_back()
            return [Surplus(surplus), packet] if surplus else [packet]
        if isinstance(packet, LostPacket):  # what would come late is left out
            missing = self._clock.on_pause(packet.frames, now)
            return [LostPacket(packet.seq + packet.frames - missing, min(missing, SPOKEN_ON))]
        if not isinstance(packet, PausePacket):
            return [packet]
        missing = self._clock.on_pause(packet.frames, now)
        self._seq = packet.seq + packet.frames
        return [PausePacket(self._seq - missing, missing, packet.noise)]

    def due(self, now: float) -> Filling | None:
        """Returns the part of a pause that is to be heard by now."""
        first = self._seq + self._clock.ahead
        count = self._clock.due(now)
        return Filling(first, count, b"") if count else None

    def wait(self, now: float) -> float | None:
        """Seconds until something may be due; None while there is no pause."""
        return self._clock.wait(now)


async def paced(
    packets: AsyncIterator[Packet], clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Piece]:
    """The packets, and between them the pauses as their time comes."""
    pacer = PausePacer()
    coming: asyncio.Task[Packet] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(_next(packets))
            await asyncio.wait({coming}, timeout=pacer.wait(clock()))
            if coming.done():
                arrived, coming = coming, None
                try:
                    packet = arrived.result()
                except StopAsyncIteration:
                    return
                for each in pacer.take(packet, clock()):
                    yield each
            elif (piece := pacer.due(clock())) is not None:
                yield piece
    finally:
        if coming is not None:
            coming.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await coming


async def _next(packets: AsyncIterator[Packet]) -> Packet:
    return await packets.__anext__()
