"""Comfort noise: a pause described in five bytes, and noise made of the description.

A description is the level and, in half bytes, the shape over eight bands. The generator glides from
what was heard last to the newest description, so that going into and out of a pause is no step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facodec.config import HOP
from facodec.link.bands import BANDS, FLOOR, HANN, MEMBERS, WINDOW, Audio, Powers, decibel

LEAST_HOPS = 32
"""Hops between two descriptions at least: 400 ms."""
CHANGED = 2.0
"""dB by which the level, or 2 times that by which a band, must have changed for another one."""
LOWEST, LEVEL_STEP = -100.0, 0.5
"""dB of the byte 0, and of a step of the level."""
SHAPE_LOWEST, SHAPE_STEP = -28.0, 2.0
"""dB relative to the level of the half byte 0, and of a step of the shape."""
BYTES = 1 + BANDS // 2
MEMORY = 0.1
"""Share of a new hop in the average that is described: 125 ms."""
GLIDE = 0.8
"""dB a hop that the generator's bands move at most: less than 3 dB in 37 ms."""


@dataclass(frozen=True)
class Description:
    """Level in dB of full scale and the bands' (8,) relative to it, as coarse as they are sent."""

    level: float
    shape: tuple[float, ...]

    @classmethod
    def of(cls, powers: Powers) -> Description:
        """The description of mean squares (8,) by band."""
        level = float(decibel(powers.sum(keepdims=True))[0])
        step = int(np.clip(round((level - LOWEST) / LEVEL_STEP), 0, 255))
        relative = (decibel(powers) - level - SHAPE_LOWEST) / SHAPE_STEP
        shape = np.clip(np.round(relative), 0, 15) * SHAPE_STEP + SHAPE_LOWEST
        return cls(LOWEST + LEVEL_STEP * step, tuple(shape.tolist()))

    def to_bytes(self) -> bytes:
        """Five bytes: the level, and two bands a byte, the lower in the upper half."""
        level = round((self.level - LOWEST) / LEVEL_STEP)
        steps = [round((each - SHAPE_LOWEST) / SHAPE_STEP) for each in self.shape]
        return bytes([level, *(16 * a + b for a, b in zip(steps[::2], steps[1::2], strict=True))])

    @classmethod
    def from_bytes(cls, data: bytes) -> Description:
        """Inverse of :meth:`to_bytes`. A ValueError for anything but five bytes."""
        if len(data) != BYTES:
            raise ValueError(f"expected {BYTES} bytes of comfort noise, got {len(data)}")
        steps = [half for byte in data[1:] for half in (byte >> 4, byte & 15)]
        shape = tuple(SHAPE_LOWEST + SHAPE_STEP * step for step in steps)
        return cls(LOWEST + LEVEL_STEP * data[0], shape)

    @property
    def powers(self) -> Powers:
        """Mean squares (8,) by band, whose sum is the level."""
        relative = 10.0 ** (np.array(self.shape) / 10.0)
        return np.asarray(10.0 ** (self.level / 10.0) * relative / relative.sum())


class Describer:
    """The sender's half: hears the pauses and says when a description is due."""

    def __init__(self) -> None:
        self._average: Powers = np.zeros(BANDS)
        self._pause = 0
        self._since = LEAST_HOPS
        self._sent: Description | None = None

    def push(self, powers: Powers, active: bool) -> Description | None:
        """Powers (8,) of a hop, and whether it is sent as speech -> what to send in its place, if
        anything: at the start of a pause and where the noise has changed, once in 400 ms."""
        self._since += 1
        if active:
            self._pause = 0
            return None
        share = MEMORY if self._pause else 1.0
        self._average = self._average + share * (powers - self._average)
        self._pause += 1
        if self._since < LEAST_HOPS:
            return None
        found = Description.of(self._average)
        if self._pause > 1 and self._sent is not None and not _differ(found, self._sent):
            return None
        self._since, self._sent = 0, found
        return found


def _differ(a: Description, b: Description) -> bool:
    bands = np.abs(decibel(a.powers) - decibel(b.powers))
    return abs(a.level - b.level) >= CHANGED or float(bands.max()) >= 2 * CHANGED


class ComfortNoise:
    """The receiver's half: noise like the description, gliding from what was heard before it.
    ``seed`` fixes the noise."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._levels: Powers = np.full(BANDS, 10.0 * np.log10(FLOOR))
        self._tail = np.zeros(HOP)
        self._target = self._levels

    def hear(self, powers: Powers) -> None:
        """Mean squares (8,) of sound just played, from which the noise sets out."""
        self._levels = decibel(powers)

    def aim(self, description: Description) -> None:
        """The noise to become."""
        self._target = decibel(description.powers)

    def hop(self) -> Audio:
        """The next hop (200,) of noise. Two noises overlap under windows whose squares add to
        one, so that the power is even."""
        self._levels += np.clip(self._target - self._levels, -GLIDE, GLIDE)
        gains = np.sqrt(10.0 ** (self._levels / 10.0) / _OF_WHITE)
        spectrum = np.fft.rfft(self._random.standard_normal(WINDOW)) * (gains @ MEMBERS)
        noise = np.fft.irfft(spectrum, WINDOW) * np.sqrt(HANN)
        out: Audio = (self._tail + noise[:HOP]).astype(np.float32)
        self._tail = noise[HOP:]
        return out


_OF_WHITE = MEMBERS.sum(axis=1) / (WINDOW / 2)
"""Power of white noise of power 1 in each band."""
