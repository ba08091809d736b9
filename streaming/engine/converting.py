"""Converted frames as media, with the voice they are to be decoded in."""

from __future__ import annotations

import numpy as np

from facodec.arrays import check_timbre
from facodec.streams.converter import Conversion, Converted
from streaming.wire.media import Frames, Media, Timbre


class Announcing:
    """Sends the voice of a conversion before the frames, wherever it changes."""

    def __init__(self, conversion: Conversion) -> None:
        self._conversion = conversion
        self._announced: np.ndarray | None = None

    def aim(self, target: np.ndarray) -> list[Media]:
        """Another target (256,)."""
        self._conversion.aim(check_timbre(target))
        return self.voice()

    def hear(self, source: np.ndarray) -> list[Media]:
        """Somebody else's estimate (256,) of who is talking."""
        self._conversion.hear(check_timbre(source))
        return self.voice()

    def media(self, converted: list[Converted]) -> list[Media]:
        """Frames, with the voice before those that are the first in it."""
        out: list[Media] = []
        for part in converted:
            out += [*self._announce(part.vector), Frames(part.codes)]
        return out

    def voice(self) -> list[Media]:
        """The voice, if it is not the one last announced."""
        return self._announce(self._conversion.vector)

    def _announce(self, vector: np.ndarray) -> list[Media]:
        if self._announced is vector:
            return []
        self._announced = vector
        return [Timbre(vector, exact=True)]
