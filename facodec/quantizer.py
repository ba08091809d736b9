"""Vector quantization: words nearest in direction or by distance, residual chains of layers.

Channels last: vectors are (..., D). State-dict names of the chain whose layers have spaces of their
own are those of the published checkpoints once weight norm is folded: ``layers.{i}.in_proj``,
``layers.{i}.out_proj``, ``layers.{i}._codebook``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.config import ABSENT, CODEBOOK_SIZE


class Words(nn.Module):
    """A codebook of ``size`` words in a space of ``code_dim`` dimensions."""

    def __init__(self, code_dim: int, size: int = CODEBOOK_SIZE) -> None:
        super().__init__()
        self._codebook = nn.Embedding(size, code_dim)

    @property
    def words(self) -> nn.Embedding:
        """The words: codes (...) -> (..., code_dim)."""
        return self._codebook

    def scores(self, projected: Tensor) -> Tensor:
        """Nearness of each word to each vector (..., code_dim): (..., size), more is nearer."""
        raise NotImplementedError

    def nearest(self, projected: Tensor) -> Tensor:
        """Index of the nearest word to each vector (..., code_dim); ties go to the first."""
        flat = projected.reshape(-1, projected.shape[-1])
        return self.scores(flat).argmax(dim=-1).view(projected.shape[:-1])


class Places(Words):
    """Words of which the nearest by distance counts."""

    def scores(self, projected: Tensor) -> Tensor:
        # |v - w|^2 = |v|^2 - 2 (v.w - |w|^2 / 2), of which |v|^2 is the same for all words.
        words = self._codebook.weight
        return projected @ words.t() - 0.5 * words.square().sum(dim=-1)


class VectorQuantizer(Words):
    """One codebook of ``size`` words in a ``code_dim``-dimensional space (dim -> code_dim -> dim).

    The lookup compares directions (vector and words L2-normalised); the word itself is used.
    Source: improved VQGAN (Yu et al. 2021), as FACodec applies it.
    """

    def __init__(self, dim: int, code_dim: int = 8, size: int = CODEBOOK_SIZE) -> None:
        super().__init__(code_dim, size)
        self.in_proj = nn.Linear(dim, code_dim)
        self.out_proj = nn.Linear(code_dim, dim)

    def scores(self, projected: Tensor) -> Tensor:
        # |v - w|^2 = 2 - 2 v.w for unit vectors: the largest product is the nearest word.
        words = F.normalize(self._codebook.weight, dim=-1)
        return F.normalize(projected, dim=-1) @ words.t()

    def encode(self, latent: Tensor) -> Tensor:
        """(..., dim) -> codes (...), int64."""
        return self.nearest(self.in_proj(latent))

    def decode(self, codes: Tensor) -> Tensor:
        """codes (...) -> (..., dim); an absent code contributes zeros."""
        embedded: Tensor = self.out_proj(self._codebook(codes.clamp_min(0)))
        return embedded.masked_fill((codes == ABSENT).unsqueeze(-1), 0.0)


class ResidualQuantizer(nn.Module):
    """A chain of quantizers, each coding what the ones before it left over."""

    def __init__(self, dim: int, layers: int, code_dim: int = 8, size: int = CODEBOOK_SIZE) -> None:
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


class SharedQuantizer(nn.Module):
    """A chain of quantizers in one space: vectors are projected into it once, each layer codes by
    its nearest word what the ones before it left over there, and the sum of the words is projected
    back (dim -> code_dim -> dim)."""

    def __init__(self, dim: int, layers: int, code_dim: int, size: int = CODEBOOK_SIZE) -> None:
        super().__init__()
        self.in_proj = nn.Linear(dim, code_dim)
        self.out_proj = nn.Linear(code_dim, dim, bias=False)
        self.layers = nn.ModuleList(Places(code_dim, size) for _ in range(layers))

    @property
    def places(self) -> list[Places]:
        """The layers."""
        return list(self.layers)  # type: ignore[arg-type]

    def encode(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """(..., dim) -> codes (..., layers) and what the words they name mean (..., dim)."""
        codes, left = [], self.in_proj(latent)
        total = torch.zeros_like(left)
        for layer in self.places:
            code = layer.nearest(left)
            codes.append(code)
            word = layer.words(code)
            left, total = left - word, total + word
        return torch.stack(codes, dim=-1), self.out_proj(total)

    def decode(self, codes: Tensor) -> Tensor:
        """codes (..., layers) -> (..., dim); an absent code contributes zeros."""
        total = torch.zeros((), device=codes.device)
        for i, layer in enumerate(self.places):
            code = codes[..., i]
            word = layer.words(code.clamp_min(0))
            total = total + word.masked_fill((code == ABSENT).unsqueeze(-1), 0.0)
        meaning: Tensor = self.out_proj(total)
        return meaning


Quantizer = ResidualQuantizer | SharedQuantizer
