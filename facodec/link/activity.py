"""Voice activity: whether a hop has to be sent, from the sound heard so far alone.

Each band's level is held against a floor that follows the noise where there is no speech, and
hardly rises where there is. What stands out of the floor, in the mean over the bands, is speech;
for what the bundled model calls voiced, the notion by which the talker's voice is learned
(:mod:`facodec.bundled.talker`), half of that is enough. After speech the decision holds on,
longer after longer speech, so that soft ends of words are never cut.
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
BIAS = 1.4
"""dB above the floor, which is the mean of the noise, that its own unrest explains."""
STARTING = 8
"""Hops over which the floor is first guessed: their quietest."""
OUTSTANDING, VOICED = 0.12, 0.06
"""Mean over the bands of the dB above the noise that make speech, and voiced speech."""
LARGEST = 12.0
"""dB that one band counts at most: a tone or a click in one band is not speech."""
HANGOVER, LONG_HANGOVER, LONG = 12, 24, 8
"""Hops held after speech, and after more than :data:`LONG` hops of it in a row."""


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
        self._floor: Powers = np.zeros(BANDS)
        self._run = 0
        self._held = 0
        self._noise = True
        self.powers: Powers = np.zeros(BANDS)
        """Mean squares (8,) of the last hop's bands."""

    def push(self, hop: Audio, prosody: int | None = None) -> bool:
        """Whether to send this hop (200,); ``prosody``: its code, where the bundled model made
        it."""
        self.powers = self._meter.push(hop)
        above = self._above(decibel(self.powers))
        voiced = prosody is not None and prosody // LEVELS != UNVOICED
        enough = self._settings.voiced if voiced else self._settings.outstanding
        loud = float(decibel(self.powers.sum(keepdims=True))[0]) > QUIET
        speech = loud and above > enough
        self._noise = not speech
        return self._hold(speech)

    def _above(self, levels: Powers) -> float:
        """Mean over the bands of the dB that levels (8,) stand out of the noise."""
        self._heard += 1
        if self._heard == 1:
            self._level, self._floor = levels, levels
        self._level = self._level + SMOOTH * (levels - self._level)
        difference = self._level - self._floor
        if self._heard <= STARTING:
            self._floor = np.minimum(self._floor, self._level)
        elif self._noise:
            self._floor = self._floor + FOLLOW * difference
        else:
            self._floor = self._floor + np.minimum(RISE, FALL * difference)
        fast = self._level - self._floor - BIAS
        return float(np.clip(fast, 0.0, LARGEST).mean())

    def _hold(self, speech: bool) -> bool:
        if speech:
            self._run += 1
            self._held = max(self._held, LONG_HANGOVER if self._run > LONG else HANGOVER)
            return True
        self._run = 0
        self._held -= self._held > 0
        return self._held > 0
