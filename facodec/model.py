"""What every model behind :class:`facodec.codec.Codec` offers: offline calls and pure steps."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from facodec.config import Latency

State = Any
"""A frozen dataclass of tensors (batch first) and plain numbers; a step never changes one."""


class CodecModel(Protocol):
    """The common interface of the published models and the bundled one.

    B is the batch, T and n whole frames of :data:`facodec.config.HOP` samples. A code of
    :data:`facodec.config.ABSENT` marks a detail layer that was left out.
    """

    name: str
    follows_source: bool
    """Whether :meth:`convert_codes` and :meth:`convert_timbre` depend on the source's timbre."""
    decoder_memory: int | None
    """Frames after which a decoder, of what it heard before, remembers the beat alone that
    :meth:`facodec.codec.DecoderStream.skip` keeps; None where frames cannot be skipped."""

    @property
    def latency(self) -> Latency:
        """Algorithmic delay of a stream in samples."""

    def encode(self, audio: Tensor) -> Tensor:
        """audio (B, 200 T) -> codes (B, 6, T), int64."""

    def encode_with_timbre(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """audio (B, 200 T) -> codes (B, 6, T) and each row's timbre (B, 256), in one pass."""

    def voice(self, audio: Tensor) -> Tensor:
        """Timbre (256,) of the speaker heard in audio (1, N)."""

    def decode(self, codes: Tensor, timbre: Tensor, seed: int = 0) -> Tensor:
        """codes (B, 6, T), timbre (B, 256) -> audio (B, 200 T)."""

    def encoder_state(self, batch: int = 1) -> State:
        """State of ``batch`` encoders that have heard nothing."""

    def encoder_step(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """audio (B, 200 n) -> codes (B, 6, m), m <= n while the look-ahead fills."""

    def encoder_flush(self, state: State) -> Tensor:
        """The frames (B, 6, m) the encoder still owes when the input has ended."""

    def encoder_timbre(self, state: State) -> Tensor | None:
        """Running estimate (B, 256) of the talkers' timbre, None while there is nothing to tell."""

    def decoder_state(self, batch: int = 1, seed: int = 0) -> State:
        """State of ``batch`` decoders before their first frame; ``seed`` fixes any noise."""

    def decoder_step(self, codes: Tensor, timbre: Tensor, state: State) -> tuple[Tensor, State]:
        """codes (B, 6, n), timbre (B, 256) -> audio (B, 200 m)."""

    def decoder_flush(self, timbre: Tensor, state: State) -> Tensor:
        """The audio (B, 200 m) the decoder still owes when the codes have ended."""

    def convert_codes(self, codes: Tensor, source: Tensor | None, target: Tensor) -> Tensor:
        """What conversion does to codes (B, 6, n) spoken with timbre ``source`` (B, 256)
        before they are decoded in the voice of timbre ``target`` (B, 256)."""

    def convert_timbre(self, source: Tensor | None, target: Tensor) -> Tensor:
        """The timbre (B, 256) that converted codes are decoded with."""
