"""What flows through a session: sound, frames of codes, and the timbre they are spoken with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import numpy as np

from facodec.config import HOP


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
    """Who was heard in a stream: timbre (256,) float32, and median pitch in Hz."""

    timbre: np.ndarray
    pitch: float


Media: TypeAlias = Sound | Frames | Timbre


LIGHTEST = 0.125
"""Frames that the smallest piece counts for: keeping and joining it is work too."""


def load(item: Media) -> float:
    """What the item counts for where a queue is bounded: its frames, more for tiny pieces, and one
    for a timbre, so that nobody can pile up any number of either."""
    return 1.0 if isinstance(item, Timbre) else max(item.frames, LIGHTEST)


def split(item: Media, most: int) -> list[Media]:
    """The item in pieces of at most ``most`` frames each; nothing for empty media."""
    if 0 < item.frames <= most:
        return [item]
    if isinstance(item, Sound):
        step = most * HOP
        return [Sound(item.samples[i : i + step]) for i in range(0, len(item.samples), step)]
    if isinstance(item, Frames):
        count = item.codes.shape[1]
        return [Frames(item.codes[:, i : i + most]) for i in range(0, count, most)]
    return [item]


def join(items: list[Media]) -> list[Media]:
    """The same media with neighbours of one kind joined: fewer, larger steps for the model."""
    if len(items) == 1:
        return items
    joined: list[Media] = []
    for _, run in groupby(items, type):
        same = list(run)
        if isinstance(same[0], Sound):
            samples = [item.samples for item in same if isinstance(item, Sound)]
            joined.append(Sound(np.concatenate(samples)))
        elif isinstance(same[0], Frames):
            codes = [item.codes for item in same if isinstance(item, Frames)]
            joined.append(Frames(np.concatenate(codes, axis=1)))
        else:
            joined += same
    return joined
