"""The bundled causal model: its network, and the steps that its streams take."""

from __future__ import annotations

from facodec.bundled.network import (
    BLOCK_FRAMES,
    GAIN_CENTRE,
    GAIN_RANGE,
    MEL_CENTRE,
    MEL_SPREAD,
    VOICE_DIM,
    DecoderState,
    EncoderState,
    LiveNetwork,
    Pasts,
    block_sizes,
    parameter_count,
    scale_mels,
)
from facodec.bundled.steps import FastLive

__all__ = [
    "BLOCK_FRAMES",
    "GAIN_CENTRE",
    "GAIN_RANGE",
    "MEL_CENTRE",
    "MEL_SPREAD",
    "VOICE_DIM",
    "DecoderState",
    "EncoderState",
    "LiveModel",
    "Pasts",
    "block_sizes",
    "parameter_count",
    "scale_mels",
]


class LiveModel(LiveNetwork):
    """The bundled model; implements :class:`facodec.model.CodecModel`."""

    def steps(self, backend: str = "auto") -> FastLive:
        """Steps with the weights as they are now; compiles C where it is to be used.

        Raises ValueError where ``native`` cannot be had.
        """
        return FastLive(self, backend)
