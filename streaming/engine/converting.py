"""The conversion of one stream's frames, as work for batches."""

from __future__ import annotations

import numpy as np

from facodec.arrays import check_timbre
from facodec.codec import Codec
from facodec.streams.batching import Work
from facodec.streams.conversion import ConvertedVoice
from facodec.streams.lines import convert
from streaming.wire.media import Frames, Media, Timbre, join


class Converting:
    """Converted frames, and before them, wherever it changes, the voice they are to be decoded
    in. ``target`` (256,); ``pitch`` (Hz) and ``talker`` (256,): what is known of who is talking."""

    def __init__(
        self, codec: Codec, target: np.ndarray, pitch: float | None, talker: np.ndarray | None
    ) -> None:
        self._codec = codec
        known = (pitch, talker) if codec.model.follows_source else ()
        self._voice = ConvertedVoice(codec.convert_timbre, check_timbre(target), *known)
        self._announced: np.ndarray | None = None

    def aim(self, target: np.ndarray) -> list[Media]:
        """Another target."""
        self._voice.aim(check_timbre(target))
        return self.announce()

    def hear(self, source: np.ndarray) -> list[Media]:
        """Somebody else's estimate of who is talking."""
        checked = check_timbre(source)
        if self._codec.model.follows_source:
            self._voice.hear(checked)
        return self.announce()

    @property
    def is_time_to_look(self) -> bool:
        """Whether the own estimate of who is talking counts before the next frames."""
        return self._codec.model.follows_source and self._voice.is_time_to_look

    def follow(self, source: np.ndarray | None, frames: int) -> None:
        """The own estimate of who is talking, before so many frames."""
        self._voice.follow(source, frames)

    def convert(self, codes: np.ndarray) -> Work[list[Media]]:
        """codes (K, n) of who is talking."""
        out: list[Media] = self.announce()
        for part, source in self._voice.sources(codes):
            converted = yield from convert(self._codec.lanes, part, source, self._voice.target)
            out.append(Frames(converted))
        return join(out)

    def announce(self) -> list[Media]:
        """The voice, if it is not the one last announced."""
        if self._announced is self._voice.vector:
            return []
        self._announced = self._voice.vector
        return [Timbre(self._announced, exact=True)]
