"""What flows through a session: sound, frames of codes, and the timbre they are spoken with."""

from __future__ import annotations

from dataclasses import dataclass
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
    float32; otherwise a running estimate, already rounded to the float16 it is sent in."""

    vector: np.ndarray
    exact: bool

    @property
    def frames(self) -> float:
        return 0.0


Media: TypeAlias = Sound | Frames | Timbre


def load(item: Media) -> float:
    """What the item counts for where a queue is bounded: its frames, and one for a timbre, of
    which nobody may pile up any number either."""
    return 1.0 if isinstance(item, Timbre) else item.frames


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
    joined: list[Media] = []
    for item in items:
        last = joined[-1] if joined else None
        if isinstance(item, Sound) and isinstance(last, Sound):
            joined[-1] = Sound(np.concatenate([last.samples, item.samples]))
        elif isinstance(item, Frames) and isinstance(last, Frames):
            joined[-1] = Frames(np.concatenate([last.codes, item.codes], axis=1))
        else:
            joined.append(item)
    return joined
