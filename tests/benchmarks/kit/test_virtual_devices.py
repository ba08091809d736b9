"""Sound is found where it is, not where there is none; the devices are tried in
tests/system/test_devices_pulse.py."""

from __future__ import annotations

import numpy as np

from benchmarks.kit.virtual_devices import find


def test_sound_is_found_beside_silence_that_is_all_but_digital(hello: np.ndarray) -> None:
    random = np.random.default_rng(1)
    heard = random.normal(0.0, 3e-9, 80_000).astype(np.float32)
    heard[50_000:70_000] = 0.5 * hello[20_000:40_000]
    place, match = find(hello[24_000:28_000], heard)
    assert place == 54_000 and abs(match - 1.0) < 1e-3
    assert find(hello[24_000:28_000], 1e-9 * heard)[1] < 0.1
