"""A ring buffer of samples between one writer and one reader, without locks."""

from __future__ import annotations

import numpy as np


class SampleRing:
    """Preallocated float32 samples for a single producer and a single consumer.

    Only the producer calls :meth:`write` and :meth:`skip`, only the consumer calls
    :meth:`read_into`; each index has one owner, so an audio callback never waits for the other
    side.

    ``capacity`` bounds what is waiting, in samples. Policy when full: the newest samples are
    refused and the caller, who learns how many were taken, counts them; a producer for whom the
    newest are worth more makes room by :meth:`skip`.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"expected a capacity of 1 or more, got {capacity}")
        self.capacity = capacity
        self._data = np.zeros(capacity, np.float32)
        self._written = 0
        self._read = 0
        self._skip_to = 0

    @property
    def written(self) -> int:
        """Samples ever taken in."""
        return self._written

    @property
    def read(self) -> int:
        """Samples ever handed out or skipped."""
        return self._read

    @property
    def level(self) -> int:
        """Samples waiting to be read."""
        return self._written - max(self._read, self._skip_to)

    @property
    def space(self) -> int:
        return self.capacity - self.level

    def write(self, samples: np.ndarray) -> int:
        """Producer: append samples (n,); returns how many fitted, the first of them."""
        count = min(len(samples), self.space)
        self._copy_in(samples[:count])
        self._written += count  # published only now: the reader never sees half a write
        return count

    def skip(self, count: int) -> None:
        """Producer: the oldest ``count`` samples that wait are not to be read; what comes to be
        written may take their place at once."""
        self._skip_to = min(max(self._read, self._skip_to) + count, self._written)

    def read_into(self, out: np.ndarray) -> int:
        """Consumer: fill the start of ``out`` (n,); returns how many samples there were."""
        while True:
            start = max(self._read, self._skip_to)
            count = min(len(out), self._written - start)
            self._copy_out(start, out[:count])
            if self._skip_to <= start:  # else what was copied may have been written over
                break
        self._read = start + count
        return count

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
