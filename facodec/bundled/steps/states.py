"""States of a stream of the bundled model between two hops: at most 64 KiB for both directions.

The first block of a stack sees a linear function of the log-mels or of the codes, so these are
kept in place of its past, and are smaller. The decoder's other pasts are kept in 24 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from facodec.bundled.synthesis import SynthesisState
from facodec.config import CODE_LAYERS


@dataclass(frozen=True)
class Talker:
    """Both memories of :mod:`facodec.bundled.talker`: how often each pitch class was heard in
    speech (B, 2, 128), and the means of the timbre branch and of its square (B, 2, 2 width)."""

    pitches: Tensor
    moments: Tensor


@dataclass(frozen=True)
class FastEncoderState:
    """history (B, 600) conditioned samples, and what the conditioning keeps (B, 6); mels (B, 6, 81)
    log-mels and a one, zeros before the first frame; words (B, 6, 2) content codes, -1 before it;
    past of the other blocks, six frames (B, widths), the oldest first: a frame is never copied
    while it is kept."""

    history: Tensor
    conditioning: Tensor
    mels: Tensor
    words: Tensor
    past: tuple[Tensor, ...]
    talker: Talker


LARGEST = 2**23 - 2
"""Largest count in 24 bits, with room for the rounding of the division."""


@dataclass(frozen=True)
class Rounded:
    """Numbers (B, n, width) in 24 bits: the upper 16 and the lower 8 of whole multiples of
    ``step`` (B, n, 1), the frame's largest number over :data:`LARGEST`. No coarser than float32
    where the numbers of a frame meet in one sum."""

    high: Tensor
    low: Tensor
    step: Tensor

    @classmethod
    def of(cls, numbers: Tensor) -> Rounded:
        largest = numbers.abs().amax(dim=2, keepdim=True)
        step = largest.clamp_min_(1e-20).div_(LARGEST)
        multiples = (numbers / step).round_().to(torch.int32)
        return cls((multiples >> 8).to(torch.int16), multiples.to(torch.uint8), step)

    def numbers(self) -> Tensor:
        return self.low.float().add_(self.high.float(), alpha=256).mul_(self.step)

    def followed_by(self, newest: Tensor) -> Rounded:
        """Returns the past a frame (B, 1, width) later."""
        new = Rounded.of(newest)
        return Rounded(
            torch.cat((self.high[:, 1:], new.high), dim=1),
            torch.cat((self.low[:, 1:], new.low), dim=1),
            torch.cat((self.step[:, 1:], new.step), dim=1),
        )


@dataclass(frozen=True)
class FastDecoderState:
    """codes (B, 6, 6) of six frames, all -1 before the first; past of the blocks but the first,
    (B, 6, widths); timbre (B, 256) on its way to its target; the synthesis; and whether the hop
    before the first frame has been dropped."""

    codes: Tensor
    past: Rounded
    timbre: Tensor
    synthesis: SynthesisState
    started: bool


def nothing_said(batch: int, frames: int, device: torch.device) -> Tensor:
    """Codes (B, frames, 6) of the time before the first frame."""
    return torch.full((batch, frames, CODE_LAYERS), -1, dtype=torch.long, device=device)


def later(kept: Tensor, new: Tensor) -> Tensor:
    """The newest frames of both (B, n, ...), as many as were kept."""
    return torch.cat((kept, new), dim=1)[:, -kept.shape[1] :]
