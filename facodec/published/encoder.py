"""The published encoder: 16 kHz audio to 80 latent vectors a second."""

from __future__ import annotations

from facodec.config import Ns3Config
from facodec.published.activation import Activation
from facodec.published.layers import Composite, Conv, Layer
from facodec.published.residual import ResidualUnit


class EncoderBlock(Composite):
    """Residual units, activation, and a convolution that lowers the rate ``stride``-fold and
    doubles the channels."""

    def __init__(self, channels: int, stride: int, dilations: tuple[int, ...]) -> None:
        padding = stride // 2 + stride % 2
        down = Conv(channels, 2 * channels, 2 * stride, stride=stride, padding=padding)
        units = [ResidualUnit(channels, dilation) for dilation in dilations]
        super().__init__([*units, Activation(channels), down])


class Encoder(Composite):
    """Audio (B, 200 T, 1) -> latent (B, T, 256), by parameters named as in the published file."""

    def __init__(self, config: Ns3Config) -> None:
        channels = config.encoder_channels
        layers: list[Layer] = [Conv(1, channels, 7, padding=3)]
        for stride in config.strides:
            layers.append(EncoderBlock(channels, stride, config.dilations))
            channels *= 2
        layers += [Activation(channels), Conv(channels, config.latent_dim, 3, padding=1)]
        super().__init__(layers)
