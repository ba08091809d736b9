"""The published timbre encoder, and its running estimate for a stream without an enrolled voice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.config import Ns3Config
from facodec.published.layers import Conv


class SelfAttention(nn.Module):
    """Multi-head self-attention over all frames; parameters named as in ``torch``'s own."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, C) -> (B, T, C)."""
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        by_head = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(by_head[0], by_head[1], by_head[2])
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Convolution of width 5, ReLU, linear back."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.ffn_1 = Conv(width, hidden, 5, padding=2)
        self.ffn_2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, C) -> (B, T, C)."""
        out: Tensor = self.ffn_2(F.relu(self.ffn_1(x)))
        return out


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each behind a LayerNorm and added to its input."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        self.self_attn = SelfAttention(width, heads)
        self.ffn = FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, C) -> (B, T, C)."""
        x = x + self.self_attn(self.ln_1(x))
        out: Tensor = x + self.ffn(self.ln_2(x))
        return out


class TimbreEncoder(nn.Module):
    """Latents of a whole utterance (B, T, 256) -> the speaker's timbre (B, 256), T >= 1.

    The published model indexes its table of positions by the row of the batch instead of by
    time, so at batch size 1 every frame gets row 0: sin 0, cos 0 in turn. We add that to every
    row, so that a timbre does not depend on the place in a batch.
    """

    def __init__(self, config: Ns3Config) -> None:
        super().__init__()
        width = config.latent_dim
        self.layers = nn.ModuleList(
            TransformerLayer(width, config.timbre_heads, config.timbre_hidden)
            for _ in range(config.timbre_layers)
        )
        self.last_ln = nn.LayerNorm(width)
        position = torch.arange(width, dtype=torch.float32) % 2
        self.register_buffer("position", position, persistent=False)

    position: Tensor

    def forward(self, latent: Tensor) -> Tensor:
        """latent (B, T, 256) -> (B, 256)."""
        x = latent + self.position
        for layer in self.layers:
            x = layer(x)
        mean: Tensor = self.last_ln(x).mean(dim=1)
        return mean


@dataclass(frozen=True)
class RunningTimbre:
    """``latents`` (B, limit, 256): a talker's first frames; ``heard`` (B,): how many there are,
    at most the limit; ``timbre`` (B, 256): the newest estimate, zeros before the first.

    All of fixed size, so streams of any age can share a batch.
    """

    latents: Tensor
    heard: Tensor
    timbre: Tensor


class TimbreTracker:
    """Estimates a talker's timbre from the first seconds of a stream.

    The timbre is a mean over the whole utterance after attention over all of it, so it cannot be
    updated frame by frame. It is computed over all frames so far at each of ``milestones`` (frame
    counts, ascending) and kept after the last, which bounds both memory and total work.
    """

    def __init__(self, encoder: TimbreEncoder, milestones: tuple[int, ...]) -> None:
        self.encoder = encoder
        self.milestones = milestones

    def initial_state(self, batch: int) -> RunningTimbre:
        like = self.encoder.position
        width = like.shape[0]
        return RunningTimbre(
            latents=like.new_zeros(batch, self.milestones[-1], width),
            heard=like.new_zeros(batch, dtype=torch.long),
            timbre=like.new_zeros(batch, width),
        )

    def step(self, latent: Tensor, state: RunningTimbre) -> RunningTimbre:
        """Hear the frames latent (B, T, 256)."""
        before = state.heard.tolist()
        limit = self.milestones[-1]
        if not latent.shape[1] or min(before) == limit:
            return state
        latents, timbre = state.latents.clone(), state.timbre.clone()
        after = []
        for row, start in enumerate(before):
            end = min(start + latent.shape[1], limit)
            latents[row, start:end] = latent[row, : end - start]
            reached = self._milestone(end)
            if reached > self._milestone(start):
                timbre[row] = self.encoder(latents[row : row + 1, :reached])[0]
            after.append(end)
        return RunningTimbre(latents, state.heard.new_tensor(after), timbre)

    def estimate(self, state: RunningTimbre) -> Tensor | None:
        """(B, 256), or None until every stream of the batch has reached its first milestone."""
        return state.timbre if int(state.heard.min()) >= self.milestones[0] else None

    def _milestone(self, heard: int) -> int:
        return max((m for m in self.milestones if m <= heard), default=0)
