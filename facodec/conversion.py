"""The timbre that converted codes are decoded with, as more and more is known of the source."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

VOICE_INTERVAL = 8
"""Frames between two looks at a running timbre, counted from the start of the stream."""
VOICE_MOVED = 0.1
"""A running timbre is taken when it is further than this from the last one taken, relative to its
length. It is a mean over what was heard, so it moves by 1/n and few are ever taken."""

Steer = Callable[[ArrayLike | None, ArrayLike], NDArray[np.float32]]
"""Timbres (256,) of the source, None where unknown, and the target -> the one to decode with."""


class ConvertedVoice:
    """Follows the running timbre of the source.

    ``target`` (256,): the voice to convert to; ``vector`` (256,): the timbre to decode with now,
    another array wherever it changes, which is seldom enough to send it.
    """

    def __init__(self, steer: Steer, target: ArrayLike) -> None:
        self._steer = steer
        self._source: NDArray[np.float32] | None = None
        self._frames = 0
        self.aim(target)

    def aim(self, target: ArrayLike) -> None:
        """Another target (256,), from the next frame on."""
        self.target = np.array(target, np.float32)
        self.vector = self._steer(self._source, self.target)

    def hear(self, source: NDArray[np.float32]) -> None:
        """This is now known of the source (256,)."""
        self._source = source
        steered = self._steer(source, self.target)
        if has_moved(self.vector, steered):
            self.vector = steered

    def follow(self, source: NDArray[np.float32] | None, frames: int) -> None:
        """The same, told before each step of so many frames; only every
        :data:`VOICE_INTERVAL` frames it is looked at. None: nothing is known yet."""
        if source is not None and self._frames % VOICE_INTERVAL == 0:
            self.hear(source)
        self._frames += frames


def has_moved(taken: NDArray[np.float32], now: NDArray[np.float32]) -> bool:
    """Whether a running timbre is so far from the one last taken that it is worth a message."""
    length = float(np.linalg.norm(now))
    return float(np.linalg.norm(now - taken)) > VOICE_MOVED * length
