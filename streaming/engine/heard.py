"""Who is talking in one stream, once enough speech was heard for the next one to begin with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np

from facodec.bundled.prosody import LEVELS
from facodec.streams.conversion import hertz_of
from streaming.wire.media import Talker

ENOUGH = 240
"""Voiced frames, 3 s, after which a talker is told."""

NO_FRAMES = np.zeros(0, np.int64)


class Heard:
    """Counts the speech of one stream between looks at its running timbre.

    Voiced frames during which the timbre stayed as it was, to the bit, are tones and no speech. The
    frames wait to be counted together: this runs for every hop of a stream.
    """

    def __init__(self) -> None:
        self.voiced = 0
        self._since_look: list[np.ndarray] = []
        self._timbre: np.ndarray | None = None

    def add(self, codes: np.ndarray) -> None:
        """The codes (K, n) of the next frames."""
        self._since_look.append(codes[0])

    def look(self, timbre: np.ndarray | None) -> None:
        """The running timbre (256,) after what was added; None: nothing is known yet."""
        frames, self._since_look = self._since_look, []
        if timbre is None:
            return
        if self._timbre is not None and self._timbre.tobytes() != timbre.tobytes():
            prosody = np.concatenate([NO_FRAMES, *frames])
            self.voiced += int(np.count_nonzero(prosody >= LEVELS))
        self._timbre = timbre

    @property
    def talker(self) -> Talker | None:
        """Who was heard; None before :data:`ENOUGH` frames of voice."""
        if self._timbre is None or self.voiced < ENOUGH:
            return None
        return Talker(self._timbre, hertz_of(float(self._timbre[-1])))


@runtime_checkable
class Listener(Protocol):
    """A stage of a pipeline that hears who is talking."""

    heard: Heard


def talker_of(stages: Iterable[object]) -> Talker | None:
    """Who the first of the stages that listens has heard."""
    listening = (stage for stage in stages if isinstance(stage, Listener))
    return next((stage.heard.talker for stage in listening), None)
