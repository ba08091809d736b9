"""Precisions of the published model on a CPU: one network, its matrix products packed.

The encoder stays float32 in every backend, since its codes are what the other end hears: in
bfloat16 2 to 6 % of them would be others, for a twentieth of the time. Distances from the plain
float32 model, over 4 s of speech and the golden rule's random parameters:

========  ===================  ==============================  ==============================
backend   codes                decoded audio                   one hop a call against offline
========  ===================  ==============================  ==============================
float32   none changed         SNR 117 dB                      117 dB
bf16      none changed         SNR 41 dB, log-mel L1 0.003     42 dB, 0.003
int8      none changed         SNR 28 dB, log-mel L1 0.014     28 dB, 0.015
========  ===================  ==============================  ==============================
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from facodec.published import products, snake
from facodec.published.activation import Activation
from facodec.published.layers import Conv, ConvTranspose, Product
from facodec.published.model import Ns3Model

log = logging.getLogger(__name__)

Pack = Callable[[Tensor, Tensor | None], Product]
DECODER_PRODUCTS: dict[str, Pack] = {
    "float32": products.float32,
    "bf16": products.bfloat16,
    "int8": products.int8,
}
PRECISIONS = ("auto", *DECODER_PRODUCTS)
EXACT = "float32"
"""The precision of ``auto``: the fastest that keeps the codes, and streams equal to offline calls
to 1e-5 of full scale."""


def prepare(model: Ns3Model, precision: str = "auto") -> Ns3Model:
    """Pack the weights of ``model``, which is changed and must not get other weights afterwards.

    Raises ValueError for a precision that there is not, or that this machine cannot do. Away
    from x86 CPUs, ``auto`` and ``float32`` leave the model as it is.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"expected a backend of {', '.join(PRECISIONS)}, got {precision!r}")
    chosen = EXACT if precision == "auto" else precision
    reason = _obstacle(model, chosen)
    if reason is None:
        _pack(model.encoder, products.float32)
        _pack(model.decoder.model, DECODER_PRODUCTS[chosen])
    elif chosen != EXACT:
        raise ValueError(f"backend {chosen!r} cannot be used here: {reason}")
    model.backend = chosen
    log.info(
        "ns3 computes in %s%s", chosen, "" if reason is None else f" without packing: {reason}"
    )
    return model


def _pack(module: nn.Module, pack: Pack) -> None:
    for layer in module.modules():
        if isinstance(layer, Conv):
            layer.packed = pack(layer.matrix, layer.bias)
        elif isinstance(layer, ConvTranspose):
            layer.packed = pack(layer.matrix, None)
        elif isinstance(layer, Activation):
            layer.fused = snake.fused(layer)


def _obstacle(model: Ns3Model, precision: str) -> str | None:
    """Reason that weights cannot be packed here, None where they can."""
    if next(model.parameters()).device.type != "cpu":
        return "the model is not on a CPU"
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch has no oneDNN"
    if torch.backends.quantized.engine not in ("x86", "fbgemm", "onednn"):
        return "the CPU is not an x86 one"
    if precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "the CPU has no AVX-512 for bfloat16"
    return None
