"""Residual quantizers with everything folded that does not depend on the input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facodec.bundled.steps.blocks import constant, matrix
from facodec.bundled.steps.products import Product, Shelf
from facodec.quantizer import ResidualQuantizer, VectorQuantizer


def word_table(chain: ResidualQuantizer, enter: Tensor) -> Tensor:
    """What each word of each layer becomes in (dim, out) ``enter``: a row for every code, after
    one of zeros for an absent code, layer after layer: (layers * 1025, out)."""
    rows = []
    for layer in _layers(chain):
        meaning = _words(layer) @ enter
        rows += [meaning.new_zeros(1, meaning.shape[1]), meaning]
    return constant(torch.cat(rows))


@dataclass(frozen=True)
class FastChain:
    """Encodes vectors that lack a constant.

    ``project`` (dim, layers * code_dim): into every layer's space at once;
    ``directions``: each layer's words (code_dim, 1024), of unit length; ``taken``: of each layer
    but the last, what its words take away in the spaces of the layers after it.
    """

    project: Product
    directions: list[Tensor]
    taken: list[Tensor]

    @classmethod
    def of(cls, chain: ResidualQuantizer, lacking: Tensor, shelf: Shelf) -> FastChain:
        layers = _layers(chain)
        project = torch.cat([matrix(layer.in_proj) for layer in layers], dim=1)
        bias = torch.cat([layer.in_proj.bias.detach().double() for layer in layers])
        taken = []
        for i, layer in enumerate(layers[:-1]):
            following = torch.cat([matrix(after.in_proj) for after in layers[i + 1 :]], dim=1)
            taken.append(constant(_words(layer) @ following))
        return cls(
            project=shelf.product(project, bias + lacking.double() @ project),
            directions=[
                constant(F.normalize(layer._codebook.weight.detach().double(), dim=1).t())
                for layer in layers
            ],
            taken=taken,
        )

    def encode(self, latent: Tensor) -> list[Tensor]:
        """latent (B, dim) -> the codes (B,) of each layer."""
        left = self.project(latent)
        codes = []
        for i, directions in enumerate(self.directions):
            size = directions.shape[0]
            # The longest product is that of the nearest direction, however long the vector is.
            code = (left[:, :size] @ directions).argmax(1)
            codes.append(code)
            if i < len(self.taken):
                left = left[:, size:] - self.taken[i].index_select(0, code)
        return codes


def _layers(chain: ResidualQuantizer) -> list[VectorQuantizer]:
    return list(chain.layers)  # type: ignore[arg-type]


def _words(layer: VectorQuantizer) -> Tensor:
    """The words (1024, dim) as they leave the layer, float64."""
    words = layer._codebook.weight.detach().double() @ matrix(layer.out_proj)
    return words + layer.out_proj.bias.detach().double()
