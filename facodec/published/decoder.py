"""The published decoder file: quantizers, timbre encoder, and the synthesis from frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.config import (
    CONTENT_LAYERS,
    DETAIL_LAYERS,
    MIN_LAYERS,
    PROSODY_LAYERS,
    TIMBRE_DIM,
    Ns3Config,
)
from facodec.published.activation import Activation
from facodec.published.layers import Chain, Composite, Conv, ConvTranspose, Layer
from facodec.published.residual import ResidualUnit
from facodec.published.timbre import TimbreEncoder
from facodec.quantizer import ResidualQuantizer


class DecoderBlock(Composite):
    """Activation, a transposed convolution that raises the rate ``stride``-fold and halves the
    channels, and residual units."""

    def __init__(self, channels: int, stride: int, dilations: tuple[int, ...]) -> None:
        half = channels // 2
        units = [ResidualUnit(half, dilation) for dilation in dilations]
        super().__init__([Activation(channels), ConvTranspose(channels, half, stride), *units])


def synthesis(config: Ns3Config) -> Chain:
    """Conditioned embedding (B, T, 256) -> audio before the final tanh (B, 200 T, 1)."""
    channels = config.decoder_channels
    layers: list[Layer] = [Conv(config.latent_dim, channels, 7, padding=3)]
    for stride in reversed(config.strides):
        layers.append(DecoderBlock(channels, stride, config.dilations))
        channels //= 2
    return Chain([*layers, Activation(channels), Conv(channels, 1, 7, padding=3)])


class Decoder(nn.Module):
    """The decoder of ``ns3_facodec_decoder``, its parameters named as there."""

    def __init__(self, config: Ns3Config) -> None:
        super().__init__()
        self.quantizer = nn.ModuleList(
            ResidualQuantizer(config.latent_dim, layers)
            for layers in (PROSODY_LAYERS, CONTENT_LAYERS, DETAIL_LAYERS)
        )
        self.timbre_encoder = TimbreEncoder(config)
        self.timbre_linear = nn.Linear(TIMBRE_DIM, 2 * config.latent_dim)
        self.model = synthesis(config)

    def quantize(self, latent: Tensor) -> Tensor:
        """latent (B, T, 256) -> codes (B, 6, T): prosody and content each code the latent itself,
        detail what they leave over."""
        prosody_codes, prosody = self.quantizer[0].encode(latent)  # type: ignore[operator]
        content_codes, content = self.quantizer[1].encode(latent)  # type: ignore[operator]
        rest = latent - (prosody + content)
        detail_codes, _ = self.quantizer[2].encode(rest)  # type: ignore[operator]
        codes = torch.cat((prosody_codes, content_codes, detail_codes), dim=-1)
        return codes.transpose(1, 2)

    def embed(self, codes: Tensor) -> Tensor:
        """codes (B, 6, T) -> the sum of what they stand for (B, T, 256)."""
        groups = codes.transpose(1, 2).tensor_split((PROSODY_LAYERS, MIN_LAYERS), dim=-1)
        pairs = zip(self.quantizer, groups, strict=True)
        prosody, content, detail = (quantizer.decode(group) for quantizer, group in pairs)  # type: ignore[operator]
        total: Tensor = prosody + content + detail
        return total

    def condition(self, embedding: Tensor, timbre: Tensor) -> Tensor:
        """embedding (B, T, 256) normalised, then scaled and moved by the timbre (B, 256)."""
        gain, shift = self.timbre_linear(timbre).unsqueeze(1).chunk(2, dim=-1)
        moved: Tensor = F.layer_norm(embedding, embedding.shape[-1:]) * gain + shift
        return moved
