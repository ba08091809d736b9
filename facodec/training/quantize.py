"""Training-time quantization: straight-through words, codebook losses, restarts of dead words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.quantizer import ResidualQuantizer, SharedQuantizer, VectorQuantizer

COMMITMENT = 0.25
USAGE_DECAY = 0.99
DEAD = 0.03
"""A word used less than this share of its fair share is restarted."""


Chain: TypeAlias = ResidualQuantizer | SharedQuantizer


@dataclass(frozen=True)
class Quantized:
    """words (B, T, dim), the loss that ties words and vectors together, codes (B, T, layers)."""

    words: Tensor
    loss: Tensor
    codes: Tensor


class CodebookKeeper:
    """Remembers how often each word of a chain was used and restarts those that died."""

    def __init__(self, layers: int, size: int) -> None:
        self.usage = torch.ones(layers, size)

    def count(self, codes: Tensor) -> None:
        """codes (B, T, layers) of one batch."""
        size = self.usage.shape[1]
        for i in range(self.usage.shape[0]):
            used = torch.bincount(codes[..., i].flatten().cpu(), minlength=size).float()
            fair = used / used.sum() * size
            self.usage[i].mul_(USAGE_DECAY).add_(fair, alpha=1 - USAGE_DECAY)

    @torch.no_grad()
    def restart(self, chain: Chain, vectors: list[Tensor]) -> None:
        """Give the dead words of each layer the places of random vectors (N, code_dim)."""
        layers = chain.places if isinstance(chain, SharedQuantizer) else chain.layers
        for usage, layer, points in zip(self.usage, layers, vectors, strict=True):
            words = cast(nn.Embedding, layer.words).weight
            dead = torch.nonzero(usage < DEAD).flatten()
            pick = torch.randint(len(points), (len(dead),))
            words[dead] = points[pick].to(words)
            usage[dead] = 1.0


def quantize(
    chain: Chain, latent: Tensor, kept: Tensor, switched_on: bool
) -> tuple[Quantized, list[Tensor]]:
    """Quantize latent (B, T, dim) with a straight-through gradient.

    ``kept`` (B,): how many layers of each row are heard. Before ``switched_on`` the vectors pass
    the projections alone. Also returns each layer's projected vectors (N, code_dim).
    """
    if isinstance(chain, SharedQuantizer):
        return _quantize_shared(chain, latent, kept, switched_on)
    total = torch.zeros_like(latent)
    heard = torch.zeros_like(latent)
    loss = latent.new_zeros(())
    codes, vectors = [], []
    for i, layer in enumerate(chain.layers):
        assert isinstance(layer, VectorQuantizer)
        projected = layer.in_proj(latent - total).float()
        code = layer.nearest(projected.detach())
        if switched_on:
            word = layer.words(code)
            loss = loss + F.mse_loss(word, projected.detach())
            loss = loss + COMMITMENT * F.mse_loss(projected, word.detach())
            passed = projected + (word - projected).detach()
        else:
            passed = projected
        out = layer.out_proj(passed)
        total = total + out
        heard = heard + out * (kept > i).to(out).view(-1, 1, 1)
        codes.append(code)
        vectors.append(projected.detach().flatten(0, 1))
    return Quantized(heard, loss, torch.stack(codes, dim=-1)), vectors


def _quantize_shared(
    chain: SharedQuantizer, latent: Tensor, kept: Tensor, switched_on: bool
) -> tuple[Quantized, list[Tensor]]:
    """As :func:`quantize`, where all layers have one space; distances are shares of the variance
    there, in which the vectors may be of any size."""
    z = chain.in_proj(latent).float()
    left, heard, loss = z, torch.zeros_like(z), z.new_zeros(())
    codes, vectors = [], []
    for i, layer in enumerate(chain.places):
        code = layer.nearest(left.detach())
        codes.append(code)
        vectors.append(left.detach().flatten(0, 1))
        if switched_on:
            word = layer.words(code)
            loss = loss + F.mse_loss(word, left.detach())
            loss = loss + COMMITMENT * F.mse_loss(left, word.detach())
            heard = heard + word.detach() * (kept > i).to(z).view(-1, 1, 1)
            left = left - word.detach()
    told = (kept > 0).to(z).view(-1, 1, 1)
    passed = heard + (z - z.detach() if switched_on else z) * told
    spread = z.detach().var().clamp_min(1e-6)
    return Quantized(chain.out_proj(passed), loss / spread, torch.stack(codes, dim=-1)), vectors


def disagreement(chain: ResidualQuantizer, ours: Tensor, wanted: Tensor) -> Tensor:
    """1 - cosine, as the first codebook sees them, of latents (B, T, dim) and of those they should
    have been; the latter get no gradient."""
    first = cast(VectorQuantizer, chain.layers[0])
    seen, meant = first.in_proj(ours).float(), first.in_proj(wanted).float().detach()
    return 1.0 - F.cosine_similarity(seen, meant, dim=-1).mean()
