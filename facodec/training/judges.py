"""Judges of speech as terms of a loss: what PESQ and STOI would take off the score."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facodec.training.config import TrainConfig
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


class Judges(nn.Module):
    """The judges that a run's settings give weight to; the others cost nothing."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.disturbance, self.unintelligibility = PesqDisturbance(), Unintelligibility()

    def forward(self, ours: Tensor, theirs: Tensor) -> Verdict:
        """ours, theirs (B, N), 0.4 s at least -> scalars, 0 for equal signals."""
        c, nothing = self.config, ours.new_zeros(())
        loud = theirs.square().mean(1) > QUIET
        with torch.autocast(ours.device.type, enabled=False):
            pesq = _mean(self.disturbance(ours, theirs), loud) if c.pesq_weight else nothing
            stoi = _mean(self.unintelligibility(ours, theirs), loud) if c.stoi_weight else nothing
        return Verdict(c.pesq_weight * pesq + c.stoi_weight * stoi, pesq, stoi)


def _mean(rows: Tensor, counted: Tensor) -> Tensor:
    return (rows * counted).sum() / counted.sum().clamp_min(1)
