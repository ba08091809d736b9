"""Matrix products by the number of rows: few of them read the weights, many compute."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from facodec.backends import products

MANY = 8
"""Rows from which the packed product pays, where there is one."""


class Product:
    """rows (n, K) times a matrix (K, N), plus a bias (N,) or other rows."""

    def __init__(self, matrix: Tensor, bias: Tensor | None = None) -> None:
        self.matrix = matrix.detach().float().contiguous()
        self.bias = matrix.new_zeros(matrix.shape[1]).float() if bias is None else _single(bias)
        self._packs = matrix.device.type == "cpu" and torch.backends.mkldnn.is_available()

    @cached_property
    def _packed(self) -> products.Product:
        return products.float32(self.matrix, self.bias)

    @cached_property
    def _packed_bare(self) -> products.Product:
        return products.float32(self.matrix, None)

    def __call__(self, rows: Tensor) -> Tensor:
        """rows (n, K) -> rows @ matrix + bias, (n, N)."""
        if self._packs and len(rows) >= MANY:
            return self._packed(rows)
        return torch.addmm(self.bias, rows, self.matrix)

    def onto(self, rows: Tensor, there: Tensor) -> Tensor:
        """there (n, N) + rows @ matrix, the bias left out."""
        if self._packs and len(rows) >= MANY:
            return self._packed_bare(rows).add_(there)
        return torch.addmm(there, rows, self.matrix)


def _single(bias: Tensor) -> Tensor:
    return bias.detach().float().contiguous()
