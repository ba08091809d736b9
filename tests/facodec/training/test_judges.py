"""All judges teach: their gradients are finite and point where less is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from facodec.training.config import TrainConfig
from facodec.training.judges import QUIET, Judges
from facodec.training.periodicity import PeriodicityDistance
from facodec.training.pesq import PesqDisturbance
from facodec.training.stoi import Unintelligibility

KINDS = (PesqDisturbance, Unintelligibility, PeriodicityDistance)


def in_noise(speech: np.ndarray, level: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A second of speech (1, N), in noise and without."""
    clean = torch.from_numpy(speech[:16_000]).unsqueeze(0)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return clean + level * noise, clean


@pytest.mark.parametrize(
    ("kind", "noise", "step"),
    [
        (PesqDisturbance, 0.01, 0.003),
        (Unintelligibility, 0.05, 0.01),
        (PeriodicityDistance, 0.05, 0.003),
    ],
)
def test_following_a_gradient_lowers_it(
    kind: type[nn.Module], noise: float, step: float, hello: np.ndarray
) -> None:
    spoiled, clean = in_noise(hello, noise)
    ours, judge = spoiled.requires_grad_(), kind()
    before = judge(ours, clean).sum()
    (slope,) = torch.autograd.grad(before, ours)
    assert slope.isfinite().all()
    after = judge(ours - step * slope / slope.abs().max(), clean).sum()
    assert after.item() < before.item()


@pytest.mark.parametrize("kind", KINDS)
def test_silence_has_a_finite_gradient(kind: type[nn.Module]) -> None:
    ours = torch.zeros(2, 8_000, requires_grad=True)
    kind()(ours, torch.zeros(2, 8_000)).sum().backward()
    assert ours.grad is not None and ours.grad.isfinite().all()


def test_only_judges_with_a_weight_and_loud_rows_count(hello: np.ndarray) -> None:
    spoiled, clean = in_noise(hello, 0.05)
    config = TrainConfig(stage="decoder", stoi_weight=2.0)
    told = Judges(config)(spoiled, clean)
    assert float(told.pesq) == float(told.periodicity) == 0.0 < float(told.stoi)
    assert float(told.total) == pytest.approx(2.0 * float(told.stoi))
    quiet = clean * (0.5 * QUIET / clean.square().mean()).sqrt()
    both = Judges(config)(torch.cat((spoiled, spoiled)), torch.cat((clean, quiet)))
    assert float(both.stoi) == pytest.approx(float(told.stoi), rel=1e-4)
