"""Loudness of speech: as its prosody codes say, whatever the voice and the note.

The level codes say, in steps of 8 dB, how loud each frame was; over some frames the steps average
out. So a gain follows the ratio of the powers coded and spoken. It is the listener's affair, and
nothing of it travels.

Without detail codes it always does: what a decoder makes of a voice that the content was not heard
in is up to 8 dB too loud or too quiet, and by much the same over a sentence. With detail codes the
level of speech is right by itself, within 3 dB over a third of a second, but high and held vowels
come out 10 to 30 dB too quiet. There the gain follows what is beyond :data:`RIGHT`, and is
exactly 1 for speech.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facodec.bundled.prosody import LEVEL_BOTTOM, LEVEL_STEP, LEVELS, UNVOICED
from facodec.config import ABSENT, HOP, MIN_LAYERS

MEMORY = 160.0
"""Voiced frames, 2 s of voice, over which powers are compared."""
PRIOR = 3.0
"""Voiced frames for which nothing is wrong, to begin with."""
DETAIL_MEMORY, DETAIL_PRIOR = 24.0, 10.0
"""Frames of any kind, with detail codes, in place of :data:`MEMORY` and :data:`PRIOR`: a note is
soon over."""
RIGHT, WRONG = 5.0, 8.0
"""dB that a level with detail codes may differ by without a gain, and from which on it gets all of
it. A held note may lie anywhere within a step."""
BOUND = 10.0 ** (RIGHT / 10.0)
"""The first as a ratio of powers, for a quick look."""
MOST = 24.0
"""dB of gain, up or down."""
WINDOW = 0.375
"""Mean square of the window that a frame's level is measured in."""
EXCESS = 0.7
"""dB that the middles of the steps are too loud for speech, most of which is in their lower half;
measured on training speech."""
SILENCE = 1e-9
"""Power added to what was spoken."""

MIDDLES = LEVEL_BOTTOM + LEVEL_STEP * (np.arange(LEVELS) - 0.5) - EXCESS
POWERS: list[float] = (10.0 ** (MIDDLES / 10.0) / WINDOW).tolist()
"""Mean square of the samples, by level class."""
RAMP = np.arange(1, HOP + 1, dtype=np.float32) / np.float32(HOP)

REMAINDER, DETAIL_REMAINDER = 1e-9, 1e-10
"""Share of the power coded, without and with detail codes, that may be left of what was before
when it counts as forgotten. Of the power spoken it may then be as much more as a level can be
wrong before it gets its gain, twice: 16 and 30 dB."""

Audio = NDArray[np.float32]


def forgets_level(codes: NDArray[np.int64]) -> bool:
    """Whether the gain after these frames (K, n) does not depend on what was before them, given
    that it and what follows have as many codes a frame. What was before is taken to have been as
    loud as can be, for as long as is remembered."""
    pitch, level = np.divmod(codes[0], LEVELS)
    if len(codes) > MIN_LAYERS:
        memory, least, remainder = DETAIL_MEMORY, POWERS[1], DETAIL_REMAINDER
        fades, compared = np.ones_like(level), (pitch != UNVOICED) & (level > 0)
    else:
        memory, least, remainder = MEMORY, POWERS[0], REMAINDER
        fades = compared = pitch != UNVOICED
    # Later frames fade by as much as all of them, and whenever a gain is worked out, at least one
    # frame of the least power has been added.
    share = (1.0 - 1.0 / memory) ** np.cumsum(fades[::-1])[::-1]
    coded = float(share @ np.where(compared, np.array(POWERS)[level], 0.0))
    before = float(share[0]) * memory * POWERS[-1]
    return before <= remainder * max(coded, least)


class Powers(NamedTuple):
    """Faded sums of the powers coded and spoken over voiced frames, and how many those are."""

    coded: float = 0.0
    spoken: float = 0.0
    frames: float = 0.0

    def heard(self, coded: float, hop: Audio, memory: float) -> Powers:
        """Returns the sums with a voiced frame more."""
        share = 1.0 - 1.0 / memory
        spoken = float(hop @ hop) / HOP + SILENCE
        return Powers(
            self.coded * share + coded, self.spoken * share + spoken, self.frames * share + 1.0
        )

    def faded(self, memory: float) -> Powers:
        """Returns the sums with a frame more in which there is nothing to compare."""
        share = 1.0 - 1.0 / memory
        return Powers(self.coded * share, self.spoken * share, self.frames * share)

    def wrong(self, prior: float) -> float:
        """dB that what was spoken lacks, while so many frames say that it lacks nothing."""
        share = self.frames / (self.frames + prior)
        return 10.0 * math.log10(self.coded / self.spoken) * share


class Loudness(NamedTuple):
    """Powers of voiced frames without and with detail codes, and the gain at the end of the last
    hop. A value: a step gives the next one."""

    bare: Powers = Powers()
    detailed: Powers = Powers()
    gain: float = 1.0

    def step(self, codes: NDArray[np.int64], audio: Audio) -> tuple[Audio, Loudness]:
        """Audio (200 m,) that became complete with codes (K, n), absent ones left out or -1, the
        newest hops with the newest frames -> the same audio as loud as coded, and what follows."""
        hops, state = audio.reshape(-1, HOP), self
        if not len(hops):
            return audio, self
        changed: Audio | None = None
        frames = codes[: MIN_LAYERS + 1, -len(hops) :].T.tolist()
        for i, frame in enumerate(frames):
            has_detail = len(frame) > MIN_LAYERS and frame[MIN_LAYERS] != ABSENT
            after = (state._with_detail if has_detail else state._without)(frame[0], hops[i])
            if state.gain != 1.0 or after.gain != 1.0:
                changed = hops.copy() if changed is None else changed
                changed[i] *= np.float32(state.gain) + np.float32(after.gain - state.gain) * RAMP
            state = after
        return audio if changed is None else changed.reshape(-1), state

    def last(self, audio: Audio) -> Audio:
        """The samples still owed at the end of a stream."""
        return audio if self.gain == 1.0 else audio * np.float32(self.gain)

    def _without(self, code: int, hop: Audio) -> Loudness:
        pitch, level = divmod(code, LEVELS)
        if pitch == UNVOICED:
            return self
        bare = self.bare.heard(POWERS[level], hop, MEMORY)
        return Loudness(bare, self.detailed, _gain(bare.wrong(PRIOR)))

    def _with_detail(self, code: int, hop: Audio) -> Loudness:
        """Unvoiced frames and those of the lowest level, which is open, get no gain."""
        pitch, level = divmod(code, LEVELS)
        if pitch == UNVOICED or not level:
            return Loudness(self.bare, self.detailed.faded(DETAIL_MEMORY))
        detailed = self.detailed.heard(POWERS[level], hop, DETAIL_MEMORY)
        if detailed.spoken <= detailed.coded * BOUND and detailed.coded <= detailed.spoken * BOUND:
            return Loudness(self.bare, detailed)
        wrong = detailed.wrong(DETAIL_PRIOR) * (1.0 + DETAIL_PRIOR / DETAIL_MEMORY)
        share = min(max(abs(wrong) - RIGHT, 0.0) / (WRONG - RIGHT), 1.0)
        return Loudness(self.bare, detailed, _gain(share * wrong))


def _gain(decibel: float) -> float:
    return math.pow(10.0, min(max(decibel, -MOST), MOST) / 20.0)
