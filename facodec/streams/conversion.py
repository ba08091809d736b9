"""Knowledge of a conversion's source, as more and more is heard: the timbre that converted codes
are decoded with, and the pitch that they are moved from."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facodec.bundled.prosody import HIGHEST, LEVELS, LOWEST, STEP, UNVOICED
from facodec.bundled.talker import PITCH_REFERENCE, STRANGER
from facodec.config import LARGEST_TIMBRE

VOICE_INTERVAL = 8
"""Frames between two looks at a running timbre, counted from the start of the stream."""
VOICE_MOVED = 0.1
"""A running timbre is taken when it is further than this from the last one taken, relative to its
length. It is a mean over what was heard, so it moves by 1/n and few are ever taken."""

PAUSE, GAP = 24, 8
"""Unvoiced frames after which the typical pitch of a talker may move: 0.3 s, and 0.1 s while he has
not been heard for long. Between two of them it stays, to the bit: a melody keeps its intervals."""
SETTLED, ENOUGH = 120, 8
"""Voiced frames after which a talker counts as known, and before which nothing is believed."""
GLIDE_SHARE, GLIDE_MOST = 0.1, 0.15 / 12.0
"""Share of the way to the running estimate that is gone in a pause, and octaves at most."""
HOLD, HELD = 8, 0.5
"""Voiced frames within a pitch class that make a held note, and the share of these among the voiced
from which on it is song: which tells nothing of how high somebody speaks."""
GUESS_LOWEST, GUESS_HIGHEST = 110.0, 240.0
"""Hz: typical pitches that are believed of a talker's first voiced frame: four in five of
those (in training speech) whose first frame is beyond speak nearer to these."""
ONSET = 1.0 / 12.0
"""Octaves that phrases begin above their talker's median, about."""
SEMITONES = 12
"""Semitones of an octave."""

Codes = NDArray[np.int64]

Steer = Callable[[NDArray[np.float32] | None, NDArray[np.float32]], NDArray[np.float32]]
"""Timbres (256,) of the source, None where unknown, and the target -> the one to decode with."""


def raised(timbre: ArrayLike, semitones: float) -> NDArray[np.float32]:
    """The timbre (256,) of somebody alike who speaks so many semitones higher, for models that
    follow the source: there a timbre says how high its owner speaks, in octaves."""
    higher = np.array(timbre, np.float32)
    higher[-1] += semitones / SEMITONES
    return np.clip(higher, -LARGEST_TIMBRE, LARGEST_TIMBRE)


def unsteered(source: ArrayLike | None, target: ArrayLike) -> NDArray[np.float32]:
    """The target (256,) itself, which gives nothing of the source away: what several steered ones
    have in common tells who was talking."""
    return np.array(target, np.float32)


class ConvertedVoice:
    """Follows the running timbre of the source.

    ``target`` (256,): the voice to convert to; ``vector`` (256,): the timbre to decode with now,
    another array wherever it changes, which is seldom enough to send it. ``pitch`` in Hz and
    ``talker`` (256,): what is known of the source beforehand, see :class:`SourcePitch`.
    """

    def __init__(
        self,
        steer: Steer,
        target: ArrayLike,
        pitch: float | None = None,
        talker: ArrayLike | None = None,
    ) -> None:
        self._steer = steer
        self._source = None if talker is None else np.array(talker, np.float32)
        self._pitch = SourcePitch(pitch, talker)
        self._frames = 0
        self.aim(target)

    def aim(self, target: ArrayLike) -> None:
        """Another target (256,), from the next frame on."""
        self.target = np.array(target, np.float32)
        self.vector = self._steer(self._source, self.target)

    def hear(self, source: NDArray[np.float32]) -> None:
        """Takes what is now known of the source (256,)."""
        self._pitch.hear(source)
        if self._pitch.trusts_talker:
            return
        self._source = source
        steered = self._steer(source, self.target)
        if has_moved(self.vector, steered):
            self.vector = steered

    @property
    def is_time_to_look(self) -> bool:
        """Whether the running timbre counts before the next step."""
        return self._frames % VOICE_INTERVAL == 0

    def follow(self, source: NDArray[np.float32] | None, frames: int) -> None:
        """Follows the estimates, told before each step of so many frames; only every
        :data:`VOICE_INTERVAL` frames it is looked at. None: nothing is known yet."""
        if source is not None and self.is_time_to_look:
            self.hear(source)
        self._frames += frames

    def sources(self, codes: Codes) -> Iterator[tuple[Codes, NDArray[np.float32] | None]]:
        """Codes (K, n) of the next frames in stretches, each with the timbre (256,) that it is to
        be converted from, None where nothing is known."""
        if self._source is None and not self._pitch.is_given:
            yield codes, None
            return
        known = self.target if self._source is None else self._source
        for part, octaves in runs(self._pitch.follow(codes[0])):
            source = known.copy()
            source[-1] = octaves
            yield codes[:, part], source


class SourcePitch:
    """The typical pitch of who is talking, in octaves from 150 Hz, that a conversion moves from.

    It begins with what is known: ``pitch`` in Hz, which then holds, or ``talker``, a timbre (256,).
    Where nothing is known the first voiced frame of a phrase has to do, until the running timbre
    tells more. It moves in pauses alone: at once to the estimate while a talker is new, slowly
    afterwards.
    """

    def __init__(self, pitch: float | None = None, talker: ArrayLike | None = None) -> None:
        self.is_given = pitch is not None
        self._octaves: float | None = None if pitch is None else octaves_of(pitch)
        self._voice: NDArray[np.float32] | None = None
        self._estimate: NDArray[np.float32] | None = None
        self._silent, self._voiced, self._held = PAUSE, 0, 0
        self._recent: deque[int] = deque(maxlen=HOLD)
        self._settled = self._known = False
        if talker is not None:
            self._voice = np.array(talker, np.float32)
            self._settled = self._known = True
            if pitch is None:
                self._octaves = float(self._voice[-1])

    @property
    def trusts_talker(self) -> bool:
        """Whether the talker given still tells more than what was heard."""
        return self._settled and self._voiced < SETTLED

    def hear(self, estimate: NDArray[np.float32]) -> None:
        """Takes the source's running timbre (256,)."""
        self._estimate = estimate
        self._known = self._known or abs(float(estimate[-1])) > NOTHING_HEARD
        sure = self._settled and self._voiced >= SETTLED
        if sure and self._voice is not None and _are_strangers(self._voice, estimate):
            self._settled, self._voiced, self._held = False, 0, 0

    def follow(self, codes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Octaves (n,) of where each of the next frames is moved from, by prosody codes (n,)."""
        if self.is_given:
            self._voiced += int(np.count_nonzero(codes >= LEVELS))
            return np.full(len(codes), self._octaves, np.float64)
        return np.array([self._after(code // LEVELS) for code in codes.tolist()], np.float64)

    def _after(self, pitch: int) -> float:
        if pitch == UNVOICED:
            self._silent += 1
            self._recent.clear()
            if self._known and self._estimate is not None:
                self._move(self._estimate)
        else:
            if self._octaves is None and self._known and self._estimate is not None:
                self._octaves = float(self._estimate[-1])
            elif self._octaves is None or (not self._known and self._silent >= PAUSE):
                self._octaves = _guess(pitch)
            self._silent = 0
            self._voiced += 1
            self._recent.append(pitch)
            still = max(self._recent) - min(self._recent) <= 1
            self._held += len(self._recent) == HOLD and still
        return self._octaves or 0.0

    def _move(self, estimate: NDArray[np.float32]) -> None:
        """Moves the pitch towards an estimate (256,) where no move is to be heard."""
        there = float(estimate[-1])
        if self._octaves is None or self._voiced < ENOUGH:
            return
        if self._settled:
            if self._silent == PAUSE:
                step = GLIDE_SHARE * (there - self._octaves)
                self._octaves += min(max(step, -GLIDE_MOST), GLIDE_MOST)
        elif self._silent == GAP:
            if self._held < HELD * self._voiced:
                self._octaves = there
            self._settled, self._voice = self._voiced >= SETTLED, estimate


NOTHING_HEARD = 0.02
"""Octaves that the running pitch is from its reference while nobody has been heard."""


def octaves_of(hertz: float) -> float:
    """Octaves from the reference; a ValueError for what is no pitch of this codec."""
    if not LOWEST <= hertz <= HIGHEST:
        raise ValueError(f"expected a pitch of {LOWEST:g} to {HIGHEST:g} Hz, got {hertz:g}")
    return math.log2(hertz / PITCH_REFERENCE)


def hertz_of(octaves: float) -> float:
    """Inverse of :func:`octaves_of`, within the pitches of this codec."""
    return float(min(max(PITCH_REFERENCE * 2.0**octaves, LOWEST), HIGHEST))


def _are_strangers(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return float(one[:-1] @ other[:-1]) < STRANGER


def _guess(pitch: int) -> float:
    """Typical pitch by one voiced class."""
    hertz = LOWEST * math.exp((pitch - 1) * STEP)
    return octaves_of(min(max(hertz, GUESS_LOWEST), GUESS_HIGHEST)) - ONSET


def runs(values: NDArray[np.float64]) -> Iterator[tuple[slice, float]]:
    """Stretches of equal values."""
    start = 0
    for value, same in groupby(values.tolist()):
        end = start + len(list(same))
        yield slice(start, end), value
        start = end


def has_moved(taken: NDArray[np.float32], now: NDArray[np.float32]) -> bool:
    """Whether a running timbre is so far from the one last taken that it is worth a message."""
    length = float(np.linalg.norm(now))
    return float(np.linalg.norm(now - taken)) > VOICE_MOVED * length
