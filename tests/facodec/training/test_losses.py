"""Spectral distances: which differences count, and which do not."""

import numpy as np
import pytest
import torch
from torch import Tensor

from facodec.config import SAMPLE_RATE
from facodec.training.losses import ColourDistance


@pytest.fixture(scope="module")
def noise() -> Tensor:
    return torch.randn(2, 2 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0)) * 0.1


def brighter(audio: Tensor, decibels: float) -> Tensor:
    """Audio (B, N) with its upper half of frequencies raised."""
    bins = torch.fft.rfft(audio)
    bins[:, bins.shape[1] // 2 :] *= 10.0 ** (decibels / 20.0)
    return torch.fft.irfft(bins)


def test_level_and_pauses_have_no_colour(noise: Tensor) -> None:
    pauses = torch.cat((noise, torch.zeros_like(noise)), 1)
    distance = ColourDistance()
    assert float(distance(0.1 * noise, noise)) < 1e-4
    assert float(distance(pauses, noise)) < 1e-3
    assert float(distance(torch.zeros_like(noise), torch.zeros_like(noise))) == 0.0


def test_colour_is_the_square_of_bels(noise: Tensor) -> None:
    near, far = (float(ColourDistance()(brighter(noise, d), noise)) for d in (3.0, 6.0))
    assert far == pytest.approx(4.0 * near, rel=0.05)
    # 4 to 8 kHz are a share s of the mel bands, and those vary by s (1 - s) of the step squared.
    assert 0.1 < near / 0.3**2 < 0.25


def test_colour_has_a_gradient(noise: Tensor) -> None:
    given = brighter(noise, 6.0).requires_grad_()
    ColourDistance()(given, noise).backward()
    assert given.grad is not None and np.isfinite(given.grad.numpy()).all()
    assert bool(given.grad.abs().sum() > 0)
