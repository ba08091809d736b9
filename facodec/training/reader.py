"""Networks that tell phones, for training only: off content codes, where what was said must be,
and off sound, to be clear to somebody who knows nothing of the codec."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled.features import MEL_BANDS
from facodec.bundled.model import scale_mels
from facodec.training.phones import PHONES, UNKNOWN

WIDTH = 128
SPAN = 13
"""Frames read at once: a causal code can tell a phone only when it has been heard."""
LISTENER_WIDTH, LISTENER_SPAN = 192, 5
READER_WIDTH = 256


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
        return _error(self.name(hidden), phone)


class PhoneListener(nn.Module):
    """Sound around a frame -> the phone in it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(a, LISTENER_WIDTH, LISTENER_SPAN, dilation=d, padding=LISTENER_SPAN // 2 * d)
            for a, d in ((MEL_BANDS, 1), (LISTENER_WIDTH, 2), (LISTENER_WIDTH, 4))
        )
        self.name = nn.Linear(LISTENER_WIDTH, len(PHONES))

    def forward(self, mels: Tensor, phone: Tensor) -> Tensor:
        """log-mels (B, T, 80), phone (B, T) with -1 where unknown -> mean cross-entropy, 0 where
        nothing is known."""
        hidden = scale_mels(mels).transpose(1, 2)
        for layer in self.layers:
            hidden = F.gelu(layer(hidden))
        return _error(self.name(hidden.transpose(1, 2)), phone)


class WordsReader(nn.Module):
    """Content words around a frame -> what the teacher of words hears there."""

    def __init__(self, dim: int, heard: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.around = nn.Conv1d(dim, READER_WIDTH, SPAN, padding=SPAN // 2)
        self.name = nn.Conv1d(READER_WIDTH, heard, 3, padding=1)

    def forward(self, content: Tensor, heard: Tensor) -> Tensor:
        """content (B, T, dim) and what is heard in the same time (B, n, heard) -> mean distance, 1
        less the cosine."""
        hidden = F.gelu(self.around(self.norm(content).transpose(1, 2)))
        read = F.interpolate(self.name(hidden).float(), heard.shape[1], mode="linear")
        return 1.0 - F.cosine_similarity(read.transpose(1, 2), heard, dim=-1).mean()


def _error(logits: Tensor, phone: Tensor) -> Tensor:
    flat = logits.float().flatten(0, 1)
    total = F.cross_entropy(flat, phone.flatten(), ignore_index=UNKNOWN, reduction="sum")
    return total / (phone != UNKNOWN).sum().clamp_min(1)
