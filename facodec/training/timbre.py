"""Statistics over frames of speech that a timbre is made of, of whole crops at once."""

from __future__ import annotations

import torch
from torch import Tensor

from facodec.bundled.model import LiveModel

AVERAGE_VOICE_RATE = 0.01
"""Rate at which the average voice, the prior of a running timbre, follows the batches."""


def moments(
    model: LiveModel, hidden: Tensor, speech: Tensor, prior: float
) -> tuple[Tensor, Tensor]:
    """First and second moment (B, width) of frames (B, T, width) where ``speech`` (B, T), and of
    the average voice, which counts for ``prior`` frames."""
    weight = speech.sum(1, keepdim=True) + prior
    share, rest = (speech / weight).unsqueeze(-1), prior / weight
    first = (hidden.float() * share).sum(1) + rest * model.average_first
    second = (hidden.float().square() * share).sum(1) + rest * model.average_second
    return first, second


@torch.no_grad()
def follow(model: LiveModel, first: Tensor, second: Tensor) -> None:
    """Lets the average voice follow the moments (B, width) of a batch."""
    model.average_first.lerp_(first.mean(0), AVERAGE_VOICE_RATE)
    model.average_second.lerp_(second.mean(0), AVERAGE_VOICE_RATE)
