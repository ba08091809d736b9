"""A network that reads phones off content codes, for training only: what was said must be there."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from facodec.training.phones import PHONES, UNKNOWN

WIDTH = 128
SPAN = 13
"""Frames read at once: a causal code can tell a phone only when it has been heard."""


class PhoneReader(nn.Module):
    """Content words around a frame -> the phone in it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.around = nn.Conv1d(dim, WIDTH, SPAN, padding=SPAN // 2)
        self.name = nn.Linear(WIDTH, len(PHONES))

    def forward(self, content: Tensor, phone: Tensor) -> Tensor:
        """content (B, T, dim), phone (B, T) with -1 where unknown -> mean cross-entropy, 0 where
        nothing is known."""
        hidden = F.gelu(self.around(self.norm(content).transpose(1, 2))).transpose(1, 2)
        logits = self.name(hidden).float().flatten(0, 1)
        total = F.cross_entropy(logits, phone.flatten(), ignore_index=UNKNOWN, reduction="sum")
        return total / (phone != UNKNOWN).sum().clamp_min(1)
