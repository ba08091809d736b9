"""Talkers of one stream: an encoder that tells of his timbre as work for batches, and
whether enough speech was heard for the next stream to begin with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facodec.bundled.prosody import LEVELS
from facodec.config import HOP
from facodec.streams.batching import Work
from facodec.streams.conversion import SETTLED, VOICE_INTERVAL, has_moved, hertz_of
from facodec.streams.lanes import Lanes
from facodec.streams.lines import EncoderLine

LOOK_EVERY = VOICE_INTERVAL * HOP
"""Samples between two looks at the running timbre."""
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
    def talker(self) -> tuple[np.ndarray, float] | None:
        """Timbre (256,) and median pitch, Hz, of who was heard; None before :data:`ENOUGH` frames
        of voice."""
        if self._timbre is None or self.voiced < ENOUGH:
            return None
        return self._timbre, hertz_of(float(self._timbre[-1]))


@dataclass(frozen=True, eq=False)
class Spoken:
    """codes (6, n), and the talker's timbre (256,) from them on where it has moved."""

    codes: np.ndarray
    timbre: np.ndarray | None


class TalkerLine:
    """Samples of any number in; codes and an estimate of the talker's timbre out, before the first
    of them and wherever it has moved: at first that of ``talker`` (256,), where he is known."""

    def __init__(self, lanes: Lanes, talker: np.ndarray | None = None) -> None:
        self.heard = Heard()
        self._encoder = EncoderLine(lanes)
        self._follows = lanes.follows_source
        self._talker = talker if self._follows else None
        self._samples = 0
        self._told: np.ndarray | None = None

    def push(self, samples: np.ndarray) -> Work[list[Spoken]]:
        """samples (n,), n >= 0 -> what became complete, cut wherever the estimate is looked at."""
        out: list[Spoken] = []
        start = 0
        while start < len(samples):
            moved = (yield from self._look()) if self._is_time_to_look() else None
            part = samples[start : start + LOOK_EVERY - self._samples % LOOK_EVERY]
            start += len(part)
            self._samples += len(part)
            out.append(self._spoken((yield from self._encoder.push(part)), moved))
        return out

    def flush(self) -> Work[list[Spoken]]:
        """The frames still owed, the last filled up with silence."""
        moved = (yield from self._look()) if self._is_time_to_look() else None
        return [self._spoken((yield from self._encoder.flush()), moved)]

    def _is_time_to_look(self) -> bool:
        return self._samples % LOOK_EVERY == 0

    def _spoken(self, codes: np.ndarray, timbre: np.ndarray | None) -> Spoken:
        if self._follows:
            self.heard.add(codes)
        return Spoken(codes, timbre)

    def _look(self) -> Work[np.ndarray | None]:
        """The running timbre, if it has moved."""
        timbre = yield from self._encoder.timbre()
        if self._follows:
            self.heard.look(timbre)
        if self._talker is not None and self.heard.voiced < SETTLED:
            timbre = self._talker
        if timbre is None:
            return None
        # The receiver gets float16: what is compared and used here is what it will get.
        rounded = timbre.astype(np.float16).astype(np.float32)
        if self._told is not None and not has_moved(self._told, rounded):
            return None
        self._told = rounded
        return rounded
