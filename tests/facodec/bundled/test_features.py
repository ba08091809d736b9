"""The content branch's view: the spectral envelope without the harmonics."""

from __future__ import annotations

import math

import torch

from facodec.bundled.features import cepstral_lifter
from tests.exactness import assert_equal_numbers


def test_a_lifter_keeps_what_is_slow_and_drops_what_is_fast() -> None:
    lifter = cepstral_lifter(80, 20)
    assert_equal_numbers(lifter @ lifter, lifter)
    assert_equal_numbers(lifter, lifter.t())
    places = torch.arange(80) + 0.5
    for order in (0, 5, 19):
        wave = torch.cos(math.pi * order * places / 80)
        assert_equal_numbers(wave @ lifter, wave)
    for order in (20, 40, 79):  # 20: a harmonic every eighth band, as at 200 Hz
        wave = torch.cos(math.pi * order * places / 80)
        assert (wave @ lifter).abs().max() < 1e-5
