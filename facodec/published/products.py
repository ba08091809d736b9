"""Matrix products with weights packed for this CPU, in three precisions.

At one hop a call the product of a layer has few rows, and reading its weights is most of the
work: packing them in the order the kernel reads doubles the speed, fewer bits do the rest.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from facodec.published.layers import Product

ROWS_HINT = 8
"""Rows that the packing is laid out for; any number works."""


def float32(matrix: Tensor, bias: Tensor | None) -> Product:
    """Float32 weights (K, N) and bias (N,), packed: the plain product but for rounding."""
    packed = torch.ops.mkldnn._reorder_linear_weight(matrix.t().contiguous(), ROWS_HINT)

    def product(rows: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
        return out

    return product


def bfloat16(matrix: Tensor, bias: Tensor | None) -> Product:
    """Weights and rows rounded to bfloat16, sums in float32, rounded once at the end."""
    half = matrix.t().bfloat16().contiguous()
    packed = torch.ops.mkldnn._reorder_linear_weight(half, ROWS_HINT)
    half_bias = None if bias is None else bias.bfloat16()

    def product(rows: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows.bfloat16(), packed, half_bias, "none", [], ""
        )
        return out.float()

    return product


def int8(matrix: Tensor, bias: Tensor | None) -> Product:
    """Weights as int8 with a scale a column, rows as uint8 with one scale a call."""
    scale = matrix.abs().amax(0).clamp_min(1e-12).double() / 127
    zero = torch.zeros(scale.shape, dtype=torch.long)
    with warnings.catch_warnings():  # PyTorch recommends another library for models as a whole
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_channel(
            matrix.t().contiguous(), scale, zero, axis=0, dtype=torch.qint8
        )
        packed = torch.ops.quantized.linear_prepack(quantized, bias)

    def product(rows: Tensor) -> Tensor:
        out: Tensor = torch.ops.quantized.linear_dynamic(rows, packed, False)
        return out

    return product
