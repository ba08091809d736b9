"""Frames of voices are periodic, frames of noise are not, and the distance has a gradient."""

from __future__ import annotations

import numpy as np
import torch

from facodec.training.periodicity import PeriodicityDistance
from facodec.training.pitch import VOICING_THRESHOLD, track_pitch


def test_pulses_are_periodic_and_noise_is_not() -> None:
    pulses = torch.zeros(1, 8_000)
    pulses[0, ::100] = 0.5  # 160 Hz
    noise = 0.1 * torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))
    strengths = PeriodicityDistance().strengths(torch.cat((pulses, noise)))
    assert strengths[0].amax(1).min() > 0.95 and strengths[1].amax(1).median() < 0.45
    assert strengths.max() < 1.1


def test_it_tells_voices_as_the_tracker_does(hello: np.ndarray) -> None:
    speech = torch.from_numpy(hello).unsqueeze(0)
    strong = PeriodicityDistance().strengths(speech)[0].amax(1).numpy() > VOICING_THRESHOLD
    # The tracker's windows are centred on their frames and reach beyond the ends.
    told = track_pitch(hello)[2 : 2 + len(strong)] > 0
    assert (strong[told]).mean() > 0.95


def test_equal_signals_are_equally_periodic(hello: np.ndarray) -> None:
    speech = torch.from_numpy(hello[:16_000]).unsqueeze(0)
    distance = PeriodicityDistance()
    assert float(distance(speech, speech)) < 1e-6
    assert float(distance(0.3 * speech, speech)) < 0.05
    noise = 0.1 * torch.randn(speech.shape, generator=torch.Generator().manual_seed(0))
    assert float(distance(noise, speech)) > 0.2
