"""Factorised, L2-normalised vector quantization, one layer or a residual chain of them.

Channels last: vectors are (..., D). State-dict names are those of the published checkpoints once
weight norm is folded: ``layers.{i}.in_proj``, ``layers.{i}.out_proj``, ``layers.{i}._codebook``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.config import ABSENT, CODEBOOK_SIZE


class VectorQuantizer(nn.Module):
    """One codebook of ``size`` words in a ``code_dim``-dimensional space (dim -> code_dim -> dim).

    The lookup compares directions (vector and words L2-normalised); the word itself is used.
    Source: improved VQGAN (Yu et al. 2021), as FACodec applies it.
    """

    def __init__(self, dim: int, code_dim: int = 8, size: int = CODEBOOK_SIZE) -> None:
        super().__init__()
        self.in_proj = nn.Linear(dim, code_dim)
        self.out_proj = nn.Linear(code_dim, dim)
        self._codebook = nn.Embedding(size, code_dim)

    def nearest(self, projected: Tensor) -> Tensor:
        """Index of the word nearest in direction to each projected vector (..., code_dim); ties
        go to the first."""
        words = F.normalize(self._codebook.weight, dim=-1)
        flat = F.normalize(projected, dim=-1).reshape(-1, words.shape[-1])
        # |v - w|^2 = 2 - 2 v.w for unit vectors: the largest product is the nearest word.
        return (flat @ words.t()).argmax(dim=-1).view(projected.shape[:-1])

    def encode(self, latent: Tensor) -> Tensor:
        """(..., dim) -> codes (...), int64."""
        return self.nearest(self.in_proj(latent))

    def decode(self, codes: Tensor) -> Tensor:
        """codes (...) -> (..., dim); an absent code contributes zeros."""
        embedded: Tensor = self.out_proj(self._codebook(codes.clamp_min(0)))
        return embedded.masked_fill((codes == ABSENT).unsqueeze(-1), 0.0)


class ResidualQuantizer(nn.Module):
    """A chain of quantizers, each coding what the ones before it left over."""

    def __init__(
        self, dim: int, layers: int, code_dim: int = 8, size: int = CODEBOOK_SIZE
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VectorQuantizer(dim, code_dim, size) for _ in range(layers))

    def encode(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """(..., dim) -> codes (..., layers) and the sum of the words they name (..., dim)."""
        codes, total = [], torch.zeros_like(latent)
        for layer in self.layers:
            code = layer.encode(latent - total)  # type: ignore[operator]
            codes.append(code)
            total = total + layer.decode(code)  # type: ignore[operator]
        return torch.stack(codes, dim=-1), total

    def decode(self, codes: Tensor) -> Tensor:
        """codes (..., layers) -> (..., dim)."""
        parts = [layer.decode(codes[..., i]) for i, layer in enumerate(self.layers)]  # type: ignore[operator]
        return torch.stack(parts).sum(dim=0)
