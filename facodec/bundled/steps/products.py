"""Matrix products by the number of rows: few of them read the weights, many compute."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

PackedProduct: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]

MANY = 8
"""Rows from which packed weights pay, where the CPU has them."""


class Product:
    """rows (n, K) times a matrix (K, N), plus a bias (N,) or other rows.

    ``packed``: the matrix as oneDNN wants it, None as long as the plain one is to be used.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None = None) -> None:
        self.matrix = matrix.detach().float().contiguous()
        none = matrix.new_zeros(matrix.shape[1]) if bias is None else bias
        self.bias = none.detach().float().contiguous()
        self.packed: Tensor | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        """rows (n, K) -> rows @ matrix + bias, (n, N)."""
        if self.packed is None:
            return self.plain(rows)
        return _packed_products()[0](rows, self.packed, self.bias)

    def then_gelu(self, rows: Tensor) -> Tensor:
        """GELU, by tanh, of what a call gives."""
        if self.packed is None:
            return F.gelu(self.plain(rows), approximate="tanh")
        return _packed_products()[1](rows, self.packed, self.bias)

    def plain(self, rows: Tensor) -> Tensor:
        """Product with the float32 weights, whatever weights are in use."""
        return torch.addmm(self.bias, rows, self.matrix)

    def onto(self, rows: Tensor, there: Tensor) -> Tensor:
        """there (n, N) + rows @ matrix, the bias left out."""
        if self.packed is None:
            return torch.addmm(there, rows, self.matrix)
        return _packed_products()[0](rows, self.packed, None).add_(there)


class Shelf:
    """The products of one step, all of them plain or all packed."""

    def __init__(self, device: torch.device) -> None:
        self._packs = device.type == "cpu" and torch.backends.mkldnn.is_available()
        self._products: list[Product] = []
        self._packed: list[Tensor] = []

    def product(self, matrix: Tensor, bias: Tensor | None = None) -> Product:
        """Registers and returns a Product that is packed together with the others."""
        self._products.append(Product(matrix, bias))
        return self._products[-1]

    def packed(self, rows: int) -> list[Tensor]:
        """The packed weights for steps of so many streams; empty where plain ones are faster."""
        if not self._packs or rows < MANY:
            return []
        if not self._packed:
            self._packed = [
                torch.ops.mkldnn._reorder_linear_weight(product.matrix.t().contiguous(), MANY)
                for product in self._products
            ]
        return self._packed

    def use(self, packed: list[Tensor]) -> None:
        """Lets the products take the result of :meth:`packed`, or tensors in its place, from now
        on."""
        for i, product in enumerate(self._products):
            product.packed = packed[i] if packed else None


def _multiply(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return product


def _multiply_then_gelu(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "gelu", [], "tanh")
    return product


@cache
def _packed_products() -> tuple[PackedProduct, PackedProduct]:
    """:func:`_multiply` and :func:`_multiply_then_gelu`, scripted: their empty list cannot be
    recorded otherwise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated
            return torch.jit.script(_multiply), torch.jit.script(_multiply_then_gelu)
    except (AttributeError, RuntimeError):
        return _multiply, _multiply_then_gelu
