"""Time stretching of speech as it plays: up to 25 % faster or slower, at the same pitch.

WSOLA: the sound is laid down in windows that overlap by half; each is taken from near where the
wanted speed points, exactly where the sound goes on most like what was played before. Where nothing
is said, whole stretches may be left out instead (:func:`cut_silence`).
Source: Verhelst and Roelands, "An overlap-add technique based on waveform similarity (WSOLA) for
high quality time-scale modification of speech", ICASSP 1993.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Audio = NDArray[np.float32]

RATE = 16_000
WINDOW = 480
"""Samples of a window, 30 ms: two periods of a low voice."""
STEP = WINDOW // 2
SEARCH = 160
"""Samples, 10 ms, before and behind the wanted place where a window may be taken from."""
SLOWEST, FASTEST = 0.75, 1.25
ENOUGH = 2 * SEARCH + 2 * WINDOW
SILENT = 1e-3
"""Largest sample, -60 dB of full scale, of what counts as silence."""
SEAM = 80
"""Samples, 5 ms, of the crossfade where silence was cut."""

_HANN = np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW) ** 2
_RISE, _FALL = _HANN[:STEP].astype(np.float32), _HANN[STEP:].astype(np.float32)


class Stretcher:
    """Samples in, samples out, at a speed that may be changed at any time.

    At speed 1 what comes out is what went in, to the bit but for the sum of the two halves of the
    windows, at most :data:`ENOUGH` samples later.
    """

    def __init__(self) -> None:
        self.speed = 1.0
        self._held: Audio = np.zeros(0, np.float32)
        self._wanted = 0.0
        """Position in what is held that the speed points to."""
        self._natural = 0
        """Position where the last window goes on."""
        self._tail: Audio | None = None

    @property
    def speed(self) -> float:
        """Samples taken for each that is given, 0.75 to 1.25."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        if not SLOWEST <= speed <= FASTEST:
            raise ValueError(f"expected a speed from {SLOWEST} to {FASTEST}, got {speed}")
        self._speed = speed

    @property
    def waiting(self) -> int:
        """Samples taken and not yet given."""
        return max(0, len(self._held) - self._natural)

    def push(self, samples: Audio) -> Audio:
        """samples (n,), n >= 0 -> what can be played now, (m,) samples; m = STEP k."""
        self._held = np.concatenate((self._held, samples.astype(np.float32, copy=False)))
        out = []
        while max(self._natural, round(self._wanted) + SEARCH) + WINDOW <= len(self._held):
            out.append(self._window(self._place()))
        self._forget()
        return np.concatenate(out) if out else np.zeros(0, np.float32)

    def flush(self) -> Audio:
        """The rest, at speed 1; the stretcher is as new."""
        rest: Audio = self._held[self._natural :].copy()
        if self._tail is not None:
            count = min(len(rest), STEP)
            rest[:count] *= _RISE[:count]
            rest[:count] += self._tail[:count]
        self.__init__()  # type: ignore[misc]
        return rest

    def _place(self) -> int:
        """Position from which the next window is taken."""
        wanted = round(self._wanted)
        if self._tail is None or self._speed == 1.0 or wanted == self._natural:
            # On pace, or at speed 1 wherever that is: the sound simply goes on.
            return self._natural
        first = max(0, wanted - SEARCH)
        among = self._held[first : wanted + SEARCH + STEP]
        pattern = self._held[self._natural : self._natural + STEP]
        windows = sliding_window_view(among, STEP)
        energy = np.sqrt(np.convolve(among * among, np.ones(STEP, np.float32), "valid"))
        likeness = (windows @ pattern) / np.maximum(energy, 1e-6)
        return first + int(np.argmax(likeness))

    def _window(self, at: int) -> Audio:
        window = self._held[at : at + WINDOW]
        out: Audio = window[:STEP].copy()
        if self._tail is not None:
            out = out * _RISE + self._tail
        self._tail = window[STEP:] * _FALL
        self._natural = at + STEP
        ahead = self._speed * STEP
        self._wanted = self._natural if self._speed == 1.0 else self._wanted + ahead
        return out

    def _forget(self) -> None:
        """Drops what no later window can reach."""
        done = max(0, min(self._natural, round(self._wanted) - SEARCH))
        if done:
            self._held = self._held[done:]
            self._natural -= done
            self._wanted -= done


def cut_silence(samples: Audio, most: int) -> Audio:
    """Leaves out up to ``most`` samples from the longest silent stretch of (n,) samples, under a
    crossfade; unchanged where no stretch is longer than two seams."""
    quiet = np.abs(samples) < SILENT
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False]))))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return samples
    longest = int(np.argmax(ends - starts))
    start, end = int(starts[longest]), int(ends[longest])
    count = min(most, end - start - 2 * SEAM)
    if count <= 0:
        return samples
    rise = np.linspace(0.0, 1.0, SEAM, dtype=np.float32)
    there = samples[start + count : start + count + SEAM]
    seam = samples[start : start + SEAM] * (1 - rise) + there * rise
    return np.concatenate((samples[:start], seam, samples[start + count + SEAM :]))
