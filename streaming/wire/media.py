"""Media of a session: sound, frames of codes, and the timbre they are spoken with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TypeAlias

import numpy as np

from facodec import bitstream
from facodec.config import HOP, MIN_LAYERS
from facodec.link.entropy import FrameCoder
from facodec.link.repair import pack_essence


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples (n,) float32, 16 kHz mono, full scale 1.0."""

    samples: np.ndarray

    @property
    def frames(self) -> float:
        """Length in frames; a fraction where it is not whole hops."""
        return len(self.samples) / HOP


@dataclass(frozen=True, eq=False)
class Frames:
    """Codes (K, n) int64, K = 3..6 layers."""

    codes: np.ndarray

    @property
    def frames(self) -> float:
        return float(self.codes.shape[1])

    @property
    def heard(self) -> np.ndarray:
        """The codes (3..6, n) that a decoder is to speak."""
        return self.codes

    def essence(self, coder: FrameCoder | None) -> bytes:
        """Prosody and content alone, packed with this coder."""
        return pack_essence(self.codes, coder)


class Packed(Frames):
    """Frames as they came in a plain packet, which is taken apart only where the codes are asked
    for. ``data``: the packet, see :func:`facodec.bitstream.pack`; ``layers`` and ``count``: of its
    codes (K, n)."""

    def __init__(self, data: bytes, layers: int, count: int) -> None:
        self.data = data
        self._layers, self._count = layers, count

    @cached_property
    def codes(self) -> np.ndarray:
        return bitstream.unpack(self.data, self._layers, self._count)

    @property
    def frames(self) -> float:
        return float(self._count)


class Joined(Frames):
    """Frames that go out as one packet, however many a packet is to have."""


@dataclass(frozen=True, eq=False)
class Reduced(Frames):
    """Frames of which ``known`` layers are right: fewer were sent, or they are in place of lost
    ones. What is beyond them was held and is right for nobody's ears. ``whole``: those that they
    were made of."""

    known: int = MIN_LAYERS
    whole: Frames | None = None

    @property
    def heard(self) -> np.ndarray:
        return self.codes[: self.known]

    def packed(self, coder: FrameCoder | None) -> bytes:
        """The layers that are right, packed with this coder."""
        if self.known == MIN_LAYERS:
            return self.essence(coder)
        return bitstream.pack(self.heard) if coder is None else coder.encode(self.heard)

    def essence(self, coder: FrameCoder | None) -> bytes:
        key = "" if coder is None else coder.identity
        if key not in self._essences:  # once for all who listen
            whole = self.whole
            packed = super().essence(coder) if whole is None else whole.essence(coder)
            self._essences[key] = packed
        return self._essences[key]

    @cached_property
    def _essences(self) -> dict[str, bytes]:
        return {}


def reduced(item: Frames) -> Reduced:
    """Prosody and content of frames, without their detail."""
    return item if isinstance(item, Reduced) else Reduced(item.codes, whole=item)


class Coded(Frames):
    """Frames as a packet of an entropy coder, which is taken apart only where the codes are asked
    for. ``data``: the packet; ``layers`` and ``count``: of its codes (K, n)."""

    def __init__(self, data: bytes, layers: int, count: int, coder: FrameCoder) -> None:
        self.data, self.coder = data, coder
        self._layers, self._count = layers, count

    @cached_property
    def codes(self) -> np.ndarray:
        return self.coder.decode(self.data, self._layers, self._count)

    @property
    def frames(self) -> float:
        return float(self._count)

    def essence(self, coder: FrameCoder | None) -> bytes:
        return self._essence if coder is self.coder else super().essence(coder)

    @cached_property
    def _essence(self) -> bytes:
        # Once for all who listen.
        return pack_essence(self.codes, self.coder)


class Pause(Frames):
    """``count`` frames from ``first`` on that were not sent, as nobody speaks in them: codes (K, n)
    that sound like what came ``before``, made where they are asked for.

    ``noise``: what is to be told of how it sounds after them, see
    :class:`streaming.wire.protocol.Noise`; None: nothing. ``told``: frames that who sends has left
    out, ``count`` by default; not those that were made before it said so, or in place of a packet
    that was late.
    """

    def __init__(
        self,
        first: int,
        count: int,
        before: Sequence[Frames],
        layers: int,
        noise: bytes | None,
        told: int | None = None,
    ) -> None:
        self.noise = noise
        self.told = count if told is None else told
        self._first, self._count = first, count
        self._before, self._layers = tuple(before), layers

    @cached_property
    def codes(self) -> np.ndarray:
        from facodec.link.pauses import MEMORY, pause_frames

        parts = [item.codes for item in self._before]
        known = np.concatenate(parts or [np.zeros((self._layers, 0), np.int64)], axis=1)
        return pause_frames(known[:, -MEMORY:], self._first, self._count)

    @property
    def frames(self) -> float:
        return float(self._count)

    def parts(self, most: int) -> list[Pause]:
        """Splits the pause into pieces of at most ``most`` frames, the last of which tells, as
        many as were left out in all."""
        starts = range(0, self._count, most) or (0,)
        return [
            Pause(
                self._first + at,
                min(most, self._count - at),
                self._before,
                self._layers,
                self.noise if at == starts[-1] else None,
                self.told if at == starts[-1] else 0,
            )
            for at in starts
        ]


@dataclass(frozen=True, eq=False)
class Timbre:
    """The voice from here on: vector (256,) float32. ``exact``: given by somebody, and sent in
    float32; otherwise a running estimate, already rounded to the float16 it is sent in. ``alike``:
    of an enrolment, see :class:`streaming.wire.protocol.Voice`."""

    vector: np.ndarray
    exact: bool
    alike: float | None = None

    @property
    def frames(self) -> float:
        return 0.0


@dataclass(frozen=True, eq=False)
class Talker:
    """Talker heard in a stream: timbre (256,) float32, and median pitch in Hz."""

    timbre: np.ndarray
    pitch: float


Media: TypeAlias = Sound | Frames | Timbre


LIGHTEST = 0.125
"""Frames that the smallest piece counts for: keeping and joining it is work too."""


def load(item: Media) -> float:
    """Load of the item where a queue is bounded: its frames, more for tiny pieces, and one for a
    timbre, so that nobody can pile up any number of either."""
    return 1.0 if isinstance(item, Timbre) else max(item.frames, LIGHTEST)


def split(item: Media, most: int) -> list[Media]:
    """The item in pieces of at most ``most`` frames each; nothing for empty media."""
    if isinstance(item, Pause):
        return list(item.parts(most))
    if 0 < item.frames <= most:
        return [item]
    if isinstance(item, Sound):
        step = most * HOP
        return [Sound(item.samples[i : i + step]) for i in range(0, len(item.samples), step)]
    if isinstance(item, Frames):
        known = item.known if isinstance(item, Reduced) else None
        parts = [item.codes[:, i : i + most] for i in range(0, item.codes.shape[1], most)]
        return [Frames(each) if known is None else Reduced(each, known) for each in parts]
    return [item]


def join(items: list[Media]) -> list[Media]:
    """Joins neighbours of one kind: fewer, larger steps for the model."""
    if len(items) == 1:
        return items
    joined: list[Media] = []
    for _, run in groupby(items, lambda item: Frames if type(item) is Packed else type(item)):
        same = list(run)
        if isinstance(same[0], Sound):
            samples = [item.samples for item in same if isinstance(item, Sound)]
            joined.append(Sound(np.concatenate(samples)))
        elif type(same[0]) in (Frames, Packed):
            codes = [item.codes for item in same if isinstance(item, Frames)]
            joined.append(Frames(np.concatenate(codes, axis=1)))
        else:
            joined += same
    return joined
