"""Judges of speech as terms of a loss: PESQ, intelligibility, and what a pitch tracker hears."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facodec.training.config import TrainConfig
from facodec.training.periodicity import PeriodicityDistance
from facodec.training.pesq import PesqDisturbance
from facodec.training.stoi import Unintelligibility

QUIET = 1e-5
"""Mean power of a row in which the judges, to whom all is equally loud, hear nothing worth
learning."""


class Verdict(NamedTuple):
    """``total`` is weighted as the settings say; the others are means of what was heard."""

    total: Tensor
    pesq: Tensor
    stoi: Tensor
    periodicity: Tensor


class Judges(nn.Module):
    """The judges that a run's settings give weight to; the others cost nothing."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.weights = (config.pesq_weight, config.stoi_weight, config.periodicity_weight)
        self.judges = nn.ModuleList((PesqDisturbance(), Unintelligibility(), PeriodicityDistance()))

    def forward(self, ours: Tensor, theirs: Tensor) -> Verdict:
        """ours, theirs (B, N), 0.4 s at least -> scalars, 0 for equal signals."""
        loud = theirs.square().mean(1) > QUIET
        with torch.autocast(ours.device.type, enabled=False):
            points = [
                _mean(judge(ours, theirs), loud) if weight else ours.new_zeros(())
                for judge, weight in zip(self.judges, self.weights, strict=True)
            ]
        total = sum(w * p for w, p in zip(self.weights, points, strict=True))
        return Verdict(torch.as_tensor(total), *points)


def _mean(rows: Tensor, counted: Tensor) -> Tensor:
    return (rows * counted).sum() / counted.sum().clamp_min(1)
