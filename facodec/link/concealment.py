"""Frames in place of lost ones, in the code domain, so that the decoder's own state carries on.

The bundled model's prosody codes say what they mean: the pitch is held and glides down as at the
end of a phrase, the level falls by a step (8 dB) every so often. The content is held; the detail,
which is right for one moment only, is left out after the first frame. After 80 ms nothing is
claimed to be speech any more: the frames fade into silence, under which comfort noise may lie
(:mod:`facodec.link.comfort`). All is a function of the last frame received and of how many are
missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import Codes
from facodec.bundled.prosody import LEVELS, UNVOICED
from facodec.config import CODE_LAYERS, HOP, MIN_LAYERS
from facodec.link.bands import BANDS, Audio, BandMeter
from facodec.link.comfort import ComfortNoise, Description

HELD = 6
"""Frames, 75 ms, that are spoken on; after them comes the fade."""
DETAILED = 1
"""Frames that keep the detail."""
FALLING = 3
"""Frames for a step of 8 dB that the level falls."""
GLIDING = 2
"""Frames for a step of 1.7 % that the pitch falls."""
FADE = 4
"""Frames over which the sound fades out after :data:`HELD`; then it is silent."""
BACK = 2
"""Frames over which it fades in again: what comes after a gap begins in the middle of a vowel."""


def concealed(last: NDArray[np.integer], missing: int) -> Codes:
    """The codes (K, 1) to decode in place of the ``missing``-th frame (from 1) after the last that
    came, ``last`` (K,): K = 3 where the detail is left out. A ValueError for anything else."""
    if missing < 1 or not MIN_LAYERS <= len(last) <= CODE_LAYERS:
        raise ValueError(
            f"expected the 3..6 codes of a frame, and one missing or more: got {last}, {missing}"
        )
    frame = np.array(last if missing <= DETAILED else last[:MIN_LAYERS], np.int64)
    pitch, level = divmod(int(frame[0]), LEVELS)
    if pitch != UNVOICED:
        pitch = max(UNVOICED + 1, pitch - missing // GLIDING)
    frame[0] = max(0, level - missing // FALLING) + LEVELS * pitch
    return frame[:, None]


@dataclass(frozen=True)
class Fade:
    """The gain that goes with concealment, by hop: a value, from which a step gives the next."""

    gain: float = 1.0

    def step(self, audio: NDArray[np.float32], missing: int) -> tuple[NDArray[np.float32], Fade]:
        """audio (200,) of the ``missing``-th frame lost in a row, 0 for one that came -> faded, and
        what follows. Out in :data:`FADE` frames after :data:`HELD`, back in within :data:`BACK`."""
        if audio.shape != (HOP,):
            raise ValueError(f"expected a hop of {HOP} samples, got {audio.shape}")
        target = max(0.0, 1.0 - max(0, missing - HELD) / FADE)
        if not missing:
            target = min(1.0, self.gain + 1.0 / BACK)
        if target == self.gain == 1.0:
            return audio, self
        ramp = self.gain + (target - self.gain) * _RAMP
        return (audio * ramp).astype(np.float32), Fade(target)


_RAMP = (1.0 - np.cos(np.pi * np.arange(1, HOP + 1) / HOP)) / 2.0


class ConcealingDecoder:
    """A decoder that is told which frames are missing: codes or None in, sound out.

    ``decode`` maps codes (K, n) to the samples that became complete, as
    :meth:`facodec.codec.DecoderStream.push` does; where sound fades out, noise that is as the quiet
    moments of what came before fades in.
    """

    def __init__(self, decode: Callable[[Codes], Audio], seed: int = 0) -> None:
        self._decode, self._noise = decode, ComfortNoise(seed)
        self._meter, self._quiet = BandMeter(), np.full(BANDS, np.inf)
        self._last: Codes | None = None
        self._missing = 0
        self._fade = Fade()

    def push(self, frame: Codes | None) -> Audio:
        """One frame (K, 1), None where it was lost -> samples (200 m,)."""
        if frame is not None:
            self._last, self._missing = frame, 0
        else:
            self._missing += 1
            if self._last is None:
                return np.zeros(HOP, np.float32)
            frame = concealed(self._last[:, 0], self._missing)
        hops = self._decode(frame).reshape(-1, HOP)
        return np.concatenate([np.zeros(0, np.float32), *map(self._faded, hops)])

    def _faded(self, hop: Audio) -> Audio:
        before = self._fade.gain
        out, self._fade = self._fade.step(hop, self._missing)
        if before == self._fade.gain == 1.0:
            if not self._missing:
                self._listen(hop)
            return out
        under = np.sqrt(1.0 - (before + (self._fade.gain - before) * _RAMP) ** 2)
        return (out + under * self._noise.hop()).astype(np.float32)

    def _listen(self, hop: Audio) -> None:
        powers = self._meter.push(hop)
        quieter = powers.sum() < self._quiet.sum()
        self._quiet = powers if quieter else self._quiet * FORGET
        self._noise.hear(self._quiet)
        self._noise.aim(Description.of(self._quiet))


FORGET = 10.0 ** (0.01 / 10.0)
"""Factor by which the quietest moment rises in a hop: 0.8 dB a second."""
