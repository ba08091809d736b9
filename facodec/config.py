"""Constants of the frame format and the sizes of each model, as frozen dataclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass

SAMPLE_RATE = 16_000
"""Samples per second of all audio inside the codec."""
HOP = 200
"""Samples per frame: 80 frames a second."""
LOUDEST = 16.0
"""Largest sample taken; full scale is 1, so more is surely not scaled as wanted."""
LARGEST_TIMBRE = 1e4
"""Largest number taken in a timbre vector; those of speech stay far below, and float32 that comes
near its end overflows on the way through a model."""
LOWEST_PITCH, HIGHEST_PITCH = 55.0, 450.0
"""Hz: what the bundled model's prosody codes can say."""
PROSODY_LAYERS, CONTENT_LAYERS, DETAIL_LAYERS = 1, 2, 3
CODE_LAYERS = PROSODY_LAYERS + CONTENT_LAYERS + DETAIL_LAYERS
"""Codes per frame, in the order prosody, content, detail."""
MIN_LAYERS = PROSODY_LAYERS + CONTENT_LAYERS
"""Fewest layers that still decode: the detail layers may be left out, last first."""
CODE_BITS = 10
CODEBOOK_SIZE = 1 << CODE_BITS
TIMBRE_DIM = 256
FRAME_FORMAT = {
    "HOP": HOP,
    "SAMPLE_RATE": SAMPLE_RATE,
    "CODE_LAYERS": CODE_LAYERS,
    "CONTENT_LAYERS": CONTENT_LAYERS,
    "DETAIL_LAYERS": DETAIL_LAYERS,
    "CODEBOOK_SIZE": CODEBOOK_SIZE,
    "TIMBRE_DIM": TIMBRE_DIM,
}
"""Sizes of the frame format by the names that C has for them."""
ABSENT = -1
"""In place of a code inside a model: this layer was left out and contributes nothing."""


@dataclass(frozen=True)
class Latency:
    """Algorithmic delay in samples, the hop included, free of any computing time.

    ``encoder``: how far past a frame's first sample the encoder must hear before it can emit it.
    ``decoder``: what the decoder adds to that before the frame's first sample comes out.
    """

    encoder: int
    decoder: int

    @property
    def total(self) -> int:
        return self.encoder + self.decoder


@dataclass(frozen=True)
class LiveConfig:
    """Sizes of the bundled causal model."""

    content_width: int = 192
    content_cepstra: int = 20
    """Cepstral coefficients of the log-mels that the content branch is shown."""
    content_blocks: int = 4
    detail_blocks: int = 3
    detail_space: int = 0
    """Dimensions of one space that the words of all detail codes lie in, the nearest by distance
    counting; 0: each code has a space of eight of its own, and directions count."""
    prosody_width: int = 128
    prosody_blocks: int = 3
    timbre_width: int = 128
    timbre_blocks: int = 2
    decoder_width: int = 256
    decoder_blocks: int = 5
    condition_width: int = 64
    bands: int = 96
    """Mel-spaced bands of each spectral envelope."""
    phase_bands: int = 48


@dataclass(frozen=True)
class Ns3Config:
    """Sizes of the published model, whose timbre vectors are as wide as its latents.

    Raises ValueError if the strides do not make up one frame of :data:`HOP` samples.
    """

    encoder_channels: int = 32
    decoder_channels: int = 1024
    strides: tuple[int, ...] = (2, 4, 5, 5)
    """Strides of the encoder; the decoder takes them backwards."""
    dilations: tuple[int, ...] = (1, 3, 9)
    latent_dim: int = TIMBRE_DIM
    timbre_layers: int = 4
    timbre_heads: int = 4
    timbre_hidden: int = 1024
    timbre_frames: tuple[int, ...] = (40, 80, 160, 320)
    """Frames heard at which a stream's running timbre estimate is made anew, ascending."""

    def __post_init__(self) -> None:
        if math.prod(self.strides) != HOP:
            raise ValueError(f"expected strides whose product is {HOP}, got {self.strides}")

    @classmethod
    def small(cls) -> Ns3Config:
        """A structure of the same kind that is fast enough to try a law on many examples."""
        return cls(
            encoder_channels=2,
            decoder_channels=8,
            strides=(10, 20),
            dilations=(1, 3),
            timbre_layers=1,
            timbre_hidden=16,
        )
