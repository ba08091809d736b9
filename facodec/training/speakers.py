"""Networks that tell speakers apart, for training only: one helps the timbre, two are fooled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled.features import MEL_BANDS
from facodec.bundled.model import scale_mels
from facodec.config import TIMBRE_DIM

SHARPNESS = 20.0
"""Scale of cosines as logits."""
ADVERSARY_WIDTH = 128
CRITIC_WIDTH, CRITIC_SPAN, CRITIC_SLOPE = 192, 5, 0.2


class SpeakerJudge(nn.Module):
    """Names the speaker by the direction of a timbre vector (normalised softmax)."""

    def __init__(self, dim: int, speakers: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(speakers, dim) / dim**0.5)

    def forward(self, voice: Tensor, speaker: Tensor) -> Tensor:
        """voice (B, dim) of unit length, speaker (B,) -> mean cross-entropy."""
        cosines = voice.float() @ F.normalize(self.directions, dim=-1).t()
        return F.cross_entropy(SHARPNESS * cosines, speaker)


class SpeakerAdversary(nn.Module):
    """Names the speaker by content; what feeds it learns to give nothing away (gradient reversal,
    Ganin & Lempitsky 2015)."""

    def __init__(self, dim: int, speakers: int) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, ADVERSARY_WIDTH),
            nn.GELU(),
            nn.Linear(ADVERSARY_WIDTH, ADVERSARY_WIDTH),
            nn.GELU(),
        )
        self.name = nn.Linear(2 * ADVERSARY_WIDTH, speakers)

    def forward(self, content: Tensor, speaker: Tensor, reversal: float) -> Tensor:
        """content (B, T, dim), speaker (B,) -> mean cross-entropy; its gradient reaches
        ``content`` times ``-reversal``."""
        hidden = self.frame(_Reverse.apply(content, reversal))  # type: ignore[no-untyped-call]
        pooled = torch.cat((hidden.mean(1), hidden.float().std(1).to(hidden)), dim=-1)
        return F.cross_entropy(self.name(pooled).float(), speaker)


class VoiceCritic(nn.Module):
    """Tells recordings from conversions, and whether the voice in them is the one it should be
    (projection discriminator, Miyato & Koyama 2018)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (MEL_BANDS, CRITIC_WIDTH, CRITIC_WIDTH, CRITIC_WIDTH)
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, CRITIC_SPAN, stride=stride, padding=CRITIC_SPAN // 2)
            for a, b, stride in zip(widths[:-1], widths[1:], (1, 2, 2), strict=True)
        )
        self.real = nn.Linear(CRITIC_WIDTH, 1)
        self.voice = nn.Linear(TIMBRE_DIM, CRITIC_WIDTH)

    def forward(self, mels: Tensor, timbre: Tensor) -> Tensor:
        """log-mels (B, T, 80), timbre (B, 256) -> scores (B, T / 4), higher for a recording of
        that voice."""
        hidden = scale_mels(mels).transpose(1, 2)
        for layer in self.layers:
            hidden = F.leaky_relu(layer(hidden), CRITIC_SLOPE)
        hidden = hidden.transpose(1, 2)
        fits = (hidden * self.voice(timbre).unsqueeze(1)).sum(-1)
        score: Tensor = (self.real(hidden).squeeze(-1) + fits).float()
        return score


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * -ctx.factor, None


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Freezes the modules' weights inside; gradients pass through."""
    weights = [p for module in modules for p in module.parameters() if p.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
