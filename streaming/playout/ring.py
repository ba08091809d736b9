"""A ring buffer of samples between one writer and one reader, without locks."""

from __future__ import annotations

import numpy as np


class SampleRing:
    """Preallocated float32 samples for a single producer and a single consumer.

    Only the producer calls :meth:`write`, only the consumer calls :meth:`read_into` and
    :meth:`behind`; each side owns one index, so an audio callback never waits for the other side.

    ``capacity`` bounds what is waiting, in samples. Policy when full: the newest samples are
    refused and the caller, who learns how many were taken, counts them. ``history`` samples that
    were already read stay readable for concealment.
    """

    def __init__(self, capacity: int, history: int = 0) -> None:
        if capacity < 1 or history < 0:
            raise ValueError(f"capacity must be >= 1 and history >= 0, got {capacity}, {history}")
        self.capacity = capacity
        self.history = history
        self._data = np.zeros(capacity + history, np.float32)
        self._written = 0
        self._read = 0

    @property
    def written(self) -> int:
        """Samples ever taken in."""
        return self._written

    @property
    def read(self) -> int:
        """Samples ever handed out."""
        return self._read

    @property
    def level(self) -> int:
        """Samples waiting to be read."""
        return self._written - self._read

    @property
    def space(self) -> int:
        return self.capacity - self.level

    def write(self, samples: np.ndarray) -> int:
        """Producer: append samples (n,); returns how many fitted, the first of them."""
        count = min(len(samples), self.space)
        self._copy_in(samples[:count])
        self._written += count  # published only now: the reader never sees half a write
        return count

    def read_into(self, out: np.ndarray) -> int:
        """Consumer: fill the start of ``out`` (n,); returns how many samples there were."""
        count = min(len(out), self.level)
        self._copy_out(self._read, out[:count])
        self._read += count
        return count

    def behind(self, count: int) -> np.ndarray:
        """Consumer: a copy of the last ``count`` <= ``history`` samples read, oldest first."""
        if count > self.history:
            raise ValueError(
                f"expected at most {self.history} samples, as the ring keeps, got {count}"
            )
        recent = np.zeros(count, np.float32)
        known = min(count, self._read)
        self._copy_out(self._read - known, recent[count - known :])
        return recent

    def _copy_in(self, samples: np.ndarray) -> None:
        start = self._written % len(self._data)
        first = min(len(samples), len(self._data) - start)
        self._data[start : start + first] = samples[:first]
        self._data[: len(samples) - first] = samples[first:]

    def _copy_out(self, position: int, out: np.ndarray) -> None:
        start = position % len(self._data)
        first = min(len(out), len(self._data) - start)
        out[:first] = self._data[start : start + first]
        out[first:] = self._data[: len(out) - first]
