"""The seam between models and streams: :class:`CodecModel` is what every model behind a
:class:`facodec.codec.Codec` offers, :class:`Steps` what its streams compute with on one backend."""

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
    says_level: bool
    """Whether prosody codes say the level, see :mod:`facodec.bundled.loudness`."""

    decoder_memory: int | None
    """Frames after which a decoder, of what it heard before, remembers the beat alone that
    :meth:`Steps.decoder_skip` keeps; None where frames cannot be skipped."""

    @property
    def latency(self) -> Latency:
        """Algorithmic delay of a stream in samples."""

    def steps(self, backend: str = "auto") -> Steps:
        """Steps of streams with the weights as they are now. Raises ValueError for a backend that
        cannot be had."""

    def encode(self, audio: Tensor) -> Tensor:
        """audio (B, 200 T) -> codes (B, 6, T), int64."""

    def encode_with_timbre(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """audio (B, 200 T) -> codes (B, 6, T) and each row's timbre (B, 256), in one pass."""

    def voice(self, audio: Tensor) -> Tensor:
        """Timbre (256,) of the speaker heard in audio (1, N)."""

    def decode(self, codes: Tensor, timbre: Tensor, seed: int = 0) -> Tensor:
        """codes (B, 6, T), timbre (B, 256) -> audio (B, 200 T)."""

    def convert_codes(self, codes: Tensor, source: Tensor | None, target: Tensor) -> Tensor:
        """Converts codes (B, 6, n) spoken with timbre ``source`` (B, 256) to be decoded in the
        voice of timbre ``target`` (B, 256)."""

    def convert_timbre(self, source: Tensor | None, target: Tensor) -> Tensor:
        """The timbre (B, 256) that converted codes are decoded with."""


class Steps(Protocol):
    """Pure steps of a model's streams on one backend: from a state to the next."""

    @property
    def backend(self) -> str:
        """Backend of the steps, as :func:`facodec.load` names it."""

    @property
    def hops(self) -> tuple[int, ...]:
        """Frames to step a stream by, the most first: few sizes, so that streams have steps in
        common, and none that is slower than smaller ones."""

    @property
    def exact_sizes(self) -> bool:
        """Whether batches of any size run as they are, rather than padded to few sizes."""

    @property
    def in_place(self) -> StepsInPlace | None:
        """Steps of single frames in the rows of a larger state; None where there are none."""

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

    def decoder_skip(self, codes: Tensor, state: State) -> State:
        """The state after codes (B, 6, n) of a stream's beginning that nobody is to hear: right
        :attr:`CodecModel.decoder_memory` frames later. Only for models that have one."""

    def decoder_flush(self, timbre: Tensor, state: State) -> Tensor:
        """The audio (B, 200 m) the decoder still owes when the codes have ended."""


class StepsInPlace(Protocol):
    """Steps of single frames that change the ``rows`` (B,) of ``states`` where these lie."""

    @property
    def fewest(self) -> int:
        """Streams from which stepping in place is the faster way."""

    def encoder_step_in_place(self, audio: Tensor, states: State, rows: Tensor) -> Tensor:
        """audio (B, 200) -> codes (B, 6, 1)."""

    def encoder_timbres(self, states: State, rows: Tensor) -> Tensor:
        """Running estimates (B, 256) of the talkers' timbre, whatever the number of rows."""

    def decoder_step_in_place(
        self, codes: Tensor, timbre: Tensor, states: State, rows: Tensor
    ) -> Tensor | None:
        """codes (B, 6, 1), timbre (B, 256) -> audio (B, 200); None, and nothing changed, for
        states that the next step moves to another phase."""
