"""Voice activity: whether a hop has to be sent, from the sound heard so far alone.

Each band's level is held against a floor that follows the noise where there is no speech, and
hardly rises where there is; what stays as it is for long is noise, however loud. What stands out of
the floor, in the mean over the bands, by much for a moment or by less for longer, is speech; for
what the bundled model calls voiced, the notion by which the talker's voice is learned
(:mod:`facodec.bundled.talker`), half of that is enough. What is far softer than the talker's loud
sounds is no speech. After speech the decision holds on, longer after longer speech, so that soft
ends of words are never cut; for less where speech is so far above the noise that they are seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facodec.bundled.prosody import LEVELS, UNVOICED
from facodec.link.bands import BANDS, Audio, BandMeter, Powers, decibel

QUIET = -70.0
"""dB of full scale that is never speech."""
RISE = 0.01
"""dB a hop that the floor rises, 0.8 dB a second: faster and a long vowel would become noise."""
FALL, FOLLOW = 0.1, 0.02
"""Shares of the way to the level that the floor goes: down while there is speech, and both ways
while there is none."""
SMOOTH = 0.3
"""Share of a new level in the one that the floor follows: noise alone jumps by several dB."""
BIAS = 1.6
"""dB above the floor, which is the mean of the noise, that its own unrest explains."""
SLOWER, SLOWER_BIAS = 0.1, 0.9
"""As these two, of a level that tells soft speech from noise where it lasts."""
STARTING = 8
"""Hops over which the floor is first guessed: their quietest."""
STEADY, STEADY_FOR = 2.0, 64
"""dB within which the mean of the bands stays for so many hops, 0.8 s, where all is noise: speech
moves by more within a word."""
AT_FIRST, AT_FIRST_FOR = 1.2, 16
"""As these two before any noise is known, as their quietest is far below the mean of noise."""
HARDLY = 0.1
"""Share of voiced hops up to which that is noise."""
OUTSTANDING, VOICED = 0.11, 0.06
"""Mean over the bands of the dB above the noise that make speech, and voiced speech."""
LARGEST = 12.0
"""dB that one band counts at most: a tone or a click in one band is not speech."""
RANGE, VOICED_RANGE = 32.0, 44.0
"""dB below the loud sounds of who talks at which speech ends, and what is voiced."""
FORGET, SOFTER, SOFT_FOR, FORGET_SOON = 0.02, 15.0, 40, 0.5
"""dB that a hop of speech takes off the level of loud sounds; and dB and hops of speech without any
nearer to it after which that is more, as who talks has moved away or whispers."""
HANGOVER, LONG_HANGOVER, LONG = 12, 24, 8
"""Hops held after speech, and after more than :data:`LONG` hops of it in a row."""
SURE, SURE_HANGOVER, SURE_LONG_HANGOVER = 26.0, 4, 8
"""dB of loud sounds above the noise from which fewer hops are held, and these."""
MOMENT, MOMENT_HANGOVER = 5, 4
"""Hops in a row that noise alone may stand out, and those held after them at most."""


@dataclass(frozen=True)
class Settings:
    """Thresholds of the decision, in dB."""

    outstanding: float = OUTSTANDING
    voiced: float = VOICED


class VoiceActivity:
    """A decision per hop; no look-ahead."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._meter = BandMeter()
        self._heard = 0
        self._level: Powers = np.zeros(BANDS)
        self._slower: Powers = np.zeros(BANDS)
        self._floor: Powers = np.zeros(BANDS)
        self._steady = SteadyNoise()
        self._loud = self._loud_before = QUIET
        self._soft = 0
        self._run = 0
        self._held = 0
        self._noise = True
        self.powers: Powers = np.zeros(BANDS)
        """Mean squares (8,) of the last hop's bands."""

    def push(self, hop: Audio, prosody: int | None = None) -> bool:
        """Whether to send this hop (200,); ``prosody``: its code, where the bundled model made
        it."""
        self.powers = self._meter.push(hop)
        voiced = prosody is not None and prosody // LEVELS != UNVOICED
        above = self._above(decibel(self.powers), voiced=voiced)
        enough = self._settings.voiced if voiced else self._settings.outstanding
        level = _level(self.powers)
        stands_out = level > QUIET and above > enough
        self._noise = not stands_out
        if stands_out:
            self._listen(level)
        return self._hold(stands_out and level > self._loud - (VOICED_RANGE if voiced else RANGE))

    def _listen(self, level: float) -> None:
        """Follows the level of loud sounds."""
        self._soft = 0 if level > self._loud - SOFTER else self._soft + 1
        step = FORGET if self._soft < SOFT_FOR else FORGET_SOON
        self._loud = max(self._loud - step, level)

    def _above(self, levels: Powers, *, voiced: bool) -> float:
        """Mean over the bands of the dB that levels (8,) stand out of the noise."""
        self._heard += 1
        if self._heard == 1:
            self._level, self._slower, self._floor = levels, levels, levels
        self._level = self._level + SMOOTH * (levels - self._level)
        self._slower = self._slower + SLOWER * (levels - self._slower)
        self._follow()
        if (noise := self._steady.push(self._level, voiced=voiced)) is not None:
            self._correct(noise)
        if self._steady.hops <= 1:
            self._loud_before = self._loud
        fast = self._level - self._floor - BIAS
        slow = self._slower - self._floor - SLOWER_BIAS
        return max(float(np.clip(each, 0.0, LARGEST).mean()) for each in (fast, slow))

    def _correct(self, noise: Powers) -> None:
        """Levels (8,) were noise for a while, which says nothing of how loud who talks is and is
        not held on to."""
        self._floor = noise
        self._loud = max(self._loud, self._loud_before)
        if self._is_sure():
            self._held = 0

    def _is_sure(self) -> bool:
        """Whether who talks is far above the noise."""
        return self._loud - _level(10.0 ** (self._floor / 10.0)) > SURE

    def _follow(self) -> None:
        """Moves the floor a hop on."""
        difference = self._level - self._floor
        if self._heard <= STARTING:
            self._floor = np.minimum(self._floor, self._level)
        elif self._noise:
            self._floor = self._floor + FOLLOW * difference
        else:
            self._floor = self._floor + np.minimum(RISE, FALL * difference)

    def _hold(self, speech: bool) -> bool:
        if speech:
            self._run += 1
            sure = self._is_sure()
            short, long = (SURE_HANGOVER, SURE_LONG_HANGOVER) if sure else (HANGOVER, LONG_HANGOVER)
            short = min(short, MOMENT_HANGOVER) if self._run <= MOMENT else short
            self._held = max(self._held, long if self._run > LONG else short)
            return True
        self._run = 0
        self._held -= self._held > 0
        return self._held > 0


class SteadyNoise:
    """Finds the mean of noise that is taken for speech, as it began or grew louder at once: what
    stays as it is and is hardly voiced is no speech."""

    def __init__(self) -> None:
        self._known = False
        self.hops = 0
        """Since when it may have been noise alone."""
        self._begin()

    def _begin(self) -> None:
        self.hops = self._voiced = 0
        self._sum: Powers = np.zeros(BANDS)
        self._lowest, self._highest = np.inf, -np.inf

    def push(self, level: Powers, *, voiced: bool) -> Powers | None:
        """Smoothed dB (8,) of a hop -> those of the noise, where it is certain now."""
        mean = float(level.mean())
        within, enough = (STEADY, STEADY_FOR) if self._known else (AT_FIRST, AT_FIRST_FOR)
        if max(self._highest, mean) - min(self._lowest, mean) > within:
            self._begin()
        self.hops += 1
        self._voiced += voiced
        self._sum = self._sum + level
        self._lowest, self._highest = min(self._lowest, mean), max(self._highest, mean)
        if self.hops < enough:
            return None
        noise = self._sum / self.hops if self._voiced <= HARDLY * self.hops else None
        self._known = self._known or noise is not None
        self._begin()
        return noise


def _level(powers: Powers) -> float:
    """dB of mean squares (8,) by band together."""
    return float(decibel(powers.sum(keepdims=True))[0])
