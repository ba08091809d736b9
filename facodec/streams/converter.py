"""Conversion of one stream into another voice, as work for batches: sound or codes in, codes and
the timbre to decode them with out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facodec.config import HOP, MIN_LAYERS
from facodec.streams.batching import Convert, Work
from facodec.streams.conversion import ConvertedVoice, unsteered
from facodec.streams.lanes import Lanes
from facodec.streams.lines import EncoderLine, filled


@dataclass(frozen=True, eq=False)
class Converted:
    """codes (3, n) and ``vector`` (256,), the timbre to decode them with: the same array until it
    changes."""

    codes: np.ndarray
    vector: np.ndarray


class Follower(Protocol):
    """Somebody who is told of an encoder's frames, in their order."""

    def look(self, timbre: np.ndarray | None) -> None:
        """The running timbre (256,) before the next frames; None: nothing is known yet."""

    def add(self, codes: np.ndarray) -> None:
        """The codes (K, n) of the next frames."""


class Conversion:
    """Conversion of one stream's codes. ``target`` (256,); ``pitch`` (Hz) and ``talker`` (256,):
    what is known of who is talking, for models that follow the source. ``steer``: push the timbre
    away from his."""

    def __init__(
        self,
        lanes: Lanes,
        target: np.ndarray,
        pitch: float | None = None,
        talker: np.ndarray | None = None,
        steer: bool = True,
    ) -> None:
        self._lanes = lanes
        known = (pitch, talker) if lanes.follows_source else ()
        self._voice = ConvertedVoice(lanes.steer if steer else unsteered, target, *known)

    @property
    def target(self) -> np.ndarray:
        """The voice (256,) to convert to."""
        return self._voice.target

    @property
    def vector(self) -> np.ndarray:
        """The timbre (256,) to decode with now: the same array until it changes."""
        return self._voice.vector

    def aim(self, target: np.ndarray) -> None:
        """Another target (256,), from the next frame on."""
        self._voice.aim(target)

    def hear(self, source: np.ndarray) -> None:
        """Somebody else's estimate (256,) of who is talking."""
        if self._lanes.follows_source:
            self._voice.hear(source)

    @property
    def is_time_to_look(self) -> bool:
        """Whether the own estimate of who is talking counts before the next frames."""
        return self._lanes.follows_source and self._voice.is_time_to_look

    def follow(self, source: np.ndarray | None, frames: int) -> None:
        """The own estimate of who is talking, before so many frames."""
        self._voice.follow(source, frames)

    def convert(self, codes: np.ndarray) -> Work[list[Converted]]:
        """codes (K, n), n >= 0, of who is talking -> codes (3, n); nothing for no frames."""
        if not codes.shape[1]:
            return []
        parts = []
        for part, source in self._voice.sources(codes):
            request = Convert(self._lanes, filled(part), source, self._voice.target)
            parts.append((yield request)[:MIN_LAYERS])
        return [Converted(_joined(parts), self._voice.vector)]


class ConverterLine:
    """Samples of any number in, converted frames out. The result does not depend on how the input
    was cut. ``listener``: told of all that is heard."""

    def __init__(
        self,
        lanes: Lanes,
        conversion: Conversion,
        listener: Follower | None = None,
        alone: bool = False,
    ) -> None:
        self._encoder = EncoderLine(lanes, alone)
        self._follows = lanes.follows_source
        self._conversion, self._listener = conversion, listener

    def push(self, samples: np.ndarray) -> Work[list[Converted]]:
        """samples (n,), n >= 0 -> the frames that became complete, an entry for each voice."""
        # What is known of the source must not run ahead of what is converted.
        cuts = range(self._encoder.wanted, len(samples), HOP) if self._follows else ()
        parts: list[Converted] = []
        for part in np.split(samples, cuts):
            parts += yield from self._convert((yield from self._encoder.push(part)))
        return _by_voice(parts)

    def flush(self) -> Work[list[Converted]]:
        """The frames still owed, the last filled up with silence."""
        codes = yield from self._encoder.flush()
        return (yield from self._convert(codes))

    def _convert(self, codes: np.ndarray) -> Work[list[Converted]]:
        if not codes.shape[1]:
            return []
        source = None
        if self._conversion.is_time_to_look:
            source = yield from self._encoder.timbre()
            if self._listener is not None:
                self._listener.look(source)
        if self._follows and self._listener is not None:
            self._listener.add(codes)
        self._conversion.follow(source, codes.shape[1])
        return (yield from self._conversion.convert(codes))


def _by_voice(parts: Iterable[Converted]) -> list[Converted]:
    """Frames one after the other, joined where the voice stays."""
    runs: list[tuple[np.ndarray, list[np.ndarray]]] = []
    for part in parts:
        if not runs or runs[-1][0] is not part.vector:
            runs.append((part.vector, []))
        runs[-1][1].append(part.codes)
    return [Converted(_joined(codes), vector) for vector, codes in runs]


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
