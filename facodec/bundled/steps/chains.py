"""Residual quantizers with everything folded that does not depend on the input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facodec.bundled.steps.blocks import constant, matrix
from facodec.bundled.steps.products import Product, Shelf
from facodec.quantizer import Quantizer, SharedQuantizer, VectorQuantizer


def word_table(chain: Quantizer, enter: Tensor) -> Tensor:
    """Products of each word of each layer with ``enter`` (dim, out): a row for every code, after
    one of zeros for an absent code, layer after layer: (layers * 1025, out)."""
    rows = []
    for layer in _layers(chain):
        meaning = layer.meaning @ enter
        rows += [meaning.new_zeros(1, meaning.shape[1]), meaning]
    return constant(torch.cat(rows))


@dataclass(frozen=True)
class FastChain:
    """Encodes vectors that lack a constant.

    ``project`` (dim, layers * code_dim): into every layer's space at once;
    ``words``: each layer's (code_dim, 1024), of unit length where directions count; ``starts``:
    what is added to their products with a vector before the largest is taken (1024,);
    ``taken``: of each layer but the last, what its words take away in the spaces of the layers
    after it.
    """

    project: Product
    words: list[Tensor]
    starts: list[Tensor]
    taken: list[Tensor]

    @classmethod
    def of(cls, chain: Quantizer, lacking: Tensor, shelf: Shelf) -> FastChain:
        layers = _layers(chain)
        project = torch.cat([layer.enter for layer in layers], dim=1)
        bias = torch.cat([layer.bias for layer in layers])
        taken = []
        for i, layer in enumerate(layers[:-1]):
            following = torch.cat([after.enter for after in layers[i + 1 :]], dim=1)
            shared = isinstance(chain, SharedQuantizer)
            repeated = layer.words.repeat(1, len(layers) - 1 - i)
            taken.append(constant(repeated if shared else layer.meaning @ following))
        return cls(
            project=shelf.product(project, bias + lacking.double() @ project),
            words=[constant(layer.compared.t()) for layer in layers],
            starts=[constant(layer.start) for layer in layers],
            taken=taken,
        )

    def encode(self, latent: Tensor) -> list[Tensor]:
        """latent (B, dim) -> the codes (B,) of each layer."""
        left = self.project(latent)
        codes = []
        for i, (words, start) in enumerate(zip(self.words, self.starts, strict=True)):
            size = words.shape[0]
            # The longest product is that of the nearest direction, however long the vector is.
            code = torch.addmm(start, left[:, :size], words).argmax(1)
            codes.append(code)
            if i < len(self.taken):
                left = left[:, size:] - self.taken[i].index_select(0, code)
        return codes


@dataclass(frozen=True)
class _Layer:
    """A layer's projection into its space (dim, code_dim), ``enter`` and ``bias``; its words
    there (1024, code_dim), as they are compared and from which ``start``, and as they leave the
    chain (1024, dim); float64."""

    enter: Tensor
    bias: Tensor
    words: Tensor
    compared: Tensor
    start: Tensor
    meaning: Tensor


def _layers(chain: Quantizer) -> list[_Layer]:
    if isinstance(chain, SharedQuantizer):
        return [_in_shared_space(chain, layer.words.weight) for layer in chain.places]
    return [_in_own_space(layer) for layer in chain.layers]  # type: ignore[arg-type]


def _in_own_space(layer: VectorQuantizer) -> _Layer:
    words = layer.words.weight.detach().double()
    return _Layer(
        enter=matrix(layer.in_proj),
        bias=layer.in_proj.bias.detach().double(),
        words=words,
        compared=F.normalize(words, dim=1),
        start=words.new_zeros(len(words)),
        meaning=words @ matrix(layer.out_proj) + layer.out_proj.bias.detach().double(),
    )


def _in_shared_space(chain: SharedQuantizer, codebook: Tensor) -> _Layer:
    words = codebook.detach().double()
    return _Layer(
        enter=matrix(chain.in_proj),
        bias=chain.in_proj.bias.detach().double(),
        words=words,
        compared=words,
        start=-0.5 * words.square().sum(1),
        meaning=words @ matrix(chain.out_proj),
    )
