"""Words of a chain in one space: placed by k-means, then moving with the vectors they stand for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facodec.quantizer import SharedQuantizer

DECAY = 0.99
"""Share of what words stood for that is remembered from step to step."""
DEAD = 0.05
"""A word used less than this share of its fair share is put elsewhere."""
ROUNDS = 12
"""Rounds of k-means."""


class MovingWords(nn.Module):
    """Keeps each word of a chain at the mean of the vectors that chose it lately.

    Source: the exponential averages of van den Oord et al. 2017, appendix A.1.
    """

    def __init__(self, chain: SharedQuantizer) -> None:
        super().__init__()
        layers, (size, dim) = len(chain.places), chain.places[0].words.weight.shape
        self.register_buffer("counts", torch.zeros(layers, size))
        self.register_buffer("sums", torch.zeros(layers, size, dim))
        self.register_buffer("spread", torch.ones(()))

    counts: Tensor
    sums: Tensor
    spread: Tensor
    """Variance of the vectors when the words were placed."""

    @property
    def placed(self) -> bool:
        return bool(self.counts.any())

    def start(self, chain: SharedQuantizer) -> None:
        """Begins anew with words that were just placed."""
        self.counts.fill_(1.0)
        self.spread.zero_()  # to be found with the first batch
        for sums, layer in zip(self.sums, chain.places, strict=True):
            sums.copy_(layer.words.weight)

    def in_use(self) -> Tensor:
        """Share of the words chosen lately at least a tenth as often as others on average."""
        mean = self.counts.mean(1, keepdim=True).clamp_min(1e-6)
        return (self.counts > 0.1 * mean).float().mean()

    def quantize(
        self, chain: SharedQuantizer, latent: Tensor, kept: Tensor, restart: bool
    ) -> tuple[Tensor, Tensor]:
        """latent (B, T, dim), and how many layers of each row are heard (B,) -> the words' meaning
        (B, T, dim), with a straight-through gradient, and how far vectors are from their words, as
        a share of the variance that they had when these were placed: as a share of what it is now,
        the vectors would grow away from their words. Lets the words follow, and dead ones
        ``restart``."""
        z = chain.in_proj(latent).float()
        left, heard = z.detach(), torch.zeros_like(z)
        for i, layer in enumerate(chain.places):
            code = layer.nearest(left)
            word = layer.words(code)
            self._follow(i, layer.words.weight, left.flatten(0, 1), code.flatten(), restart)
            left = left - word
            heard = heard + word * (kept > i).to(word).view(-1, 1, 1)
        said = z.detach() - left
        if self.spread == 0:
            self.spread.copy_((z - z.mean((0, 1))).square().mean().detach())
        commit = (z - said).square().mean() / self.spread.clamp_min(1e-6)
        told = (kept > 0).to(z).view(-1, 1, 1)
        return chain.out_proj(heard + (z - z.detach()) * told), commit

    @torch.no_grad()
    def _follow(
        self, layer: int, words: Tensor, vectors: Tensor, codes: Tensor, restart: bool
    ) -> None:
        counts, sums = self.counts[layer], self.sums[layer]
        fair = len(words) / len(codes)  # a word's fair share counts 1
        chosen, fresh = torch.bincount(codes, minlength=len(words)), fair * (1 - DECAY)
        counts.mul_(DECAY).add_(chosen, alpha=fresh)
        sums.mul_(DECAY).index_add_(0, codes, vectors, alpha=fresh)
        if restart:
            dead = (counts < DEAD).nonzero().flatten()
            counts[dead] = 1.0
            sums[dead] = vectors[torch.randint(len(vectors), (len(dead),))]
        words.copy_(sums / counts.clamp_min(1e-3).unsqueeze(1))


def principal_components(vectors: Tensor, count: int) -> Tensor:
    """Orthonormal directions (count, dim) of the most power in vectors (N, dim): about zero, as no
    word is to mean as much as an absent one."""
    power = vectors.double().t() @ vectors.double()
    _, directions = torch.linalg.eigh(power)
    largest: Tensor = directions[:, -count:].flip(1).t().to(vectors.dtype)
    return largest


def place_words(chain: SharedQuantizer, vectors: Tensor, random: torch.Generator) -> None:
    """Put the words of each layer where k-means has its means, of vectors (N, code_dim) and of what
    the layers before leave over."""
    left = vectors
    for layer in chain.places:
        words = layer.words.weight
        words.copy_(means(left, len(words), random))
        left = left - layer.words(layer.nearest(left))


def means(vectors: Tensor, count: int, random: torch.Generator) -> Tensor:
    """k-means of vectors (N, dim): (count, dim)."""
    pick = torch.randint(len(vectors), (count,), generator=random)
    centres = vectors[pick].clone()
    for _ in range(ROUNDS):
        scores = vectors @ centres.t() - 0.5 * centres.square().sum(1)
        nearest = scores.argmax(1)
        counts = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        alone = counts == 0
        centres = sums / counts.clamp_min(1).unsqueeze(1)
        refill = torch.randint(len(vectors), (int(alone.sum()),), generator=random)
        centres[alone] = vectors[refill]
    return centres
