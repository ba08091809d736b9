"""Sound of a live command on its way in and out, as a person has it changed: a noise gate, mute,
gain, one's own voice. No change clicks, and where there is none a sample stays as it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from clients.session.controls import Controls
from facodec.config import HOP, SAMPLE_RATE

Samples = NDArray[np.float32]

RAMP = HOP
"""Samples over which a factor moves from one value to another."""
KEPT = 10 * SAMPLE_RATE
"""Samples of what was sent that are remembered until they come back."""
OPENING, CLOSING = SAMPLE_RATE // 250, SAMPLE_RATE // 20
"""Samples in which the gate opens, at the beginning of a hop that is loud enough, and closes."""
HANG_OVER = 3 * SAMPLE_RATE // 10
"""Samples for which the gate stays open after the last hop that was."""


class Glide:
    """A factor that moves evenly from value to value."""

    def __init__(self, value: float) -> None:
        self._value = self._target = value
        self._step = 0.0

    def move(self, target: float, samples: int = RAMP) -> None:
        """Sets out for another value, to be there after so many samples."""
        if target != self._target:
            self._target = target
            self._step = (target - self._value) / samples

    def take(self, count: int) -> Samples | float:
        """Returns the factor of the next samples: an array (count,), or the one that holds for all
        of them."""
        if self._value == self._target or not count:
            return self._value
        way = self._value + self._step * np.arange(1, count + 1)
        values = np.minimum(way, self._target) if self._step > 0 else np.maximum(way, self._target)
        self._value = float(values[-1])
        return np.asarray(values, np.float32)


class NoiseGate:
    """Makes silence of hops whose peak is below a threshold, in dB of full scale, but for those
    soon after a louder one. It waits for nothing, so it delays nothing."""

    def __init__(self, threshold: float) -> None:
        self._threshold = 10 ** (threshold / 20)
        self._left = 0
        self._factor = Glide(0.0)

    def push(self, samples: Samples) -> Samples:
        """samples (n,), cut at hops from the start of the stream on -> as many."""
        parts = [self._hop(hop) for hop in _hops(samples)]
        return np.concatenate(parts) if parts else samples

    def _hop(self, samples: Samples) -> Samples:
        if float(np.abs(samples).max()) >= self._threshold:
            self._left = HANG_OVER
            self._factor.move(1.0, OPENING)
        elif self._left <= 0:
            self._factor.move(0.0, CLOSING)
        else:
            self._left -= len(samples)
        factor = self._factor.take(len(samples))
        return samples if isinstance(factor, float) and factor == 1.0 else _times(samples, factor)


class Said:
    """Sound that a session was sent, by its place in the stream; the last :data:`KEPT` samples."""

    def __init__(self) -> None:
        self._data = np.zeros(KEPT, np.float32)
        self._end = 0

    def clear(self) -> None:
        """A stream begins."""
        self._end = 0
        self._data[:] = 0

    def put(self, samples: Samples) -> None:
        """Samples (n,) follow."""
        start = max(0, len(samples) - KEPT)
        places = np.arange(self._end + start, self._end + len(samples)) % KEPT
        self._data[places] = samples[start:]
        self._end += len(samples)

    def forget(self, count: int) -> None:
        """The last ``count`` samples were not sent after all."""
        self._end = max(0, self._end - count)

    def get(self, at: int, count: int) -> Samples:
        """Samples ``at`` to ``at + count`` of the stream; silence where they are not known."""
        out = np.zeros(count, np.float32)
        first, last = max(at, self._end - KEPT), min(at + count, self._end)
        if first < last:
            out[first - at : last - at] = self._data[np.arange(first, last) % KEPT]
        return out


class Shaping:
    """Applies what the controls say to the sound of a live command, over all its sessions.
    ``gate``: threshold of the noise gate in dB of full scale, None for none."""

    def __init__(self, controls: Controls, gate: float | None = None) -> None:
        self._controls = controls
        self._gate = None if gate is None else NoiseGate(gate)
        self._said = Said()
        self._heard = 0
        self._mute, self._own = Glide(_is(not controls.muted)), Glide(_is(controls.bypassed))
        self._gain, self._seam = Glide(controls.factor), Glide(1.0)

    def begin(self) -> None:
        """A session begins: its sound fades in where that of the last was faded out."""
        self._said.clear()
        self._heard = 0
        self._seam.move(1.0)

    def leave(self) -> None:
        """The session gives way to another: from here on its sound fades out."""
        self._seam.move(0.0)

    def to_send(self, samples: Samples) -> Samples:
        """samples (n,) of the input -> those to be sent."""
        if self._gate is not None:
            samples = self._gate.push(samples)
        self._mute.move(_is(not self._controls.muted))
        return _times(samples, self._mute.take(len(samples)))

    def sent(self, samples: Samples) -> None:
        """These samples (n,) went into the session."""
        self._said.put(samples)

    def dropped(self, count: int) -> None:
        """The last ``count`` samples were dropped on their way."""
        self._said.forget(count)

    def skipped(self, count: int) -> None:
        """Leaves out so many samples that will not come back."""
        self._heard += count

    def to_hear(self, samples: Samples, surplus: int = 0) -> Samples:
        """samples (n,) that came back -> those to be heard: each belongs to the sample of the same
        place that was sent. ``surplus``: so many before them were made up and had their place."""
        count, controls = len(samples), self._controls
        self._heard -= surplus
        self._own.move(_is(controls.bypassed))
        self._gain.move(controls.factor)
        own = self._own.take(count)
        if not _rests(own, 0.0):
            said = self._said.get(self._heard, count)
            samples = said if _rests(own, 1.0) else _between(samples, said, own)
        self._heard += count
        return _times(samples, self._gain.take(count) * self._seam.take(count))


def _is(true: bool) -> float:
    return 1.0 if true else 0.0


def _rests(factor: Samples | float, value: float) -> bool:
    return not isinstance(factor, np.ndarray) and factor == value


def _times(samples: Samples, factor: Samples | float) -> Samples:
    """The samples times a factor, within full scale; themselves where it is 1."""
    if _rests(factor, 1.0):
        return samples
    changed: Samples = np.clip(samples * factor, -1.0, 1.0).astype(np.float32, copy=False)
    return changed


def _between(one: Samples, other: Samples, share: Samples | float) -> Samples:
    return np.asarray(one + share * (other - one), np.float32)


def _hops(samples: Samples) -> Iterator[Samples]:
    for start in range(0, len(samples), HOP):
        yield samples[start : start + HOP]
