"""The bundled model for streams: one hop a call, in C where it can be compiled and in a few fused
operations elsewhere; states of 64 KiB."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from facodec.bundled.network import LiveNetwork
from facodec.bundled.prosody import pitch_hertz, split
from facodec.bundled.steps.decoder import FastDecoder
from facodec.bundled.steps.encoder import FastEncoder
from facodec.bundled.steps.native import native_decoder, native_encoder
from facodec.bundled.steps.states import FastDecoderState, FastEncoderState
from facodec.config import CODE_LAYERS, HOP

FEW = {"float32": 4, "native": 64}
"""Hops up to which single steps are faster than one call of the model, by backend."""


class FastLive:
    """Streams of a :class:`LiveNetwork`, equal to its own but for rounding; the weights as they are
    when this is made. Calls with many hops go to the model, which is then faster.

    ``backend``: ``native`` computes in C, ``float32`` in PyTorch's operations, and ``auto`` in C
    where that can be done. Raises ValueError where ``native`` cannot.
    """

    def __init__(self, model: LiveNetwork, backend: str = "auto") -> None:
        self._model = model
        self._encoder = FastEncoder(model)
        self._decoder = FastDecoder(model)
        self.backend = "float32"
        if backend != "float32" and self._go_native():
            self.backend = "native"
        elif backend == "native":
            raise ValueError(
                "backend 'native' cannot be used here: it takes a C compiler and a model on a CPU"
            )

    def _go_native(self) -> bool:
        encoder, decoder = native_encoder(self._encoder), native_decoder(self._decoder)
        if encoder is None or decoder is None:
            return False
        self._encoder.steps, self._decoder.steps = encoder, decoder
        self._encoder.reader = encoder.timbres
        return True

    @property
    def hops(self) -> tuple[int, ...]:
        """Frames to step a stream by, the most first: C gains nothing from several."""
        return (1,) if self.backend == "native" else (8, 1)

    @property
    def exact_sizes(self) -> bool:
        """Whether batches of any size run as they are: in C."""
        return self.backend == "native"

    @property
    def in_place(self) -> FastLive:
        """Single frames may be stepped in their rows."""
        return self

    @property
    def fewest(self) -> int:
        """Streams from which stepping in place is the faster way: in C, one."""
        return 1 if self.backend == "native" else 2

    def encoder_state(self, batch: int = 1) -> FastEncoderState:
        """State of ``batch`` encoders that have heard nothing."""
        return self._encoder.initial_state(batch)

    def encoder_step(
        self, audio: Tensor, state: FastEncoderState
    ) -> tuple[Tensor, FastEncoderState]:
        """audio (B, 200 n) -> codes (B, 6, n)."""
        hops = audio.shape[1] // HOP
        if hops > FEW[self.backend]:
            codes, after = self._model.encoder_step(audio, self._encoder.expand(state))
            return codes, self._encoder.compress(after, state, audio, codes)
        parts = [state.words.new_zeros(len(audio), CODE_LAYERS, 0)]
        for hop in range(hops):
            codes, state = self._encoder.step(audio[:, hop * HOP : (hop + 1) * HOP], state)
            parts.append(codes)
        return torch.cat(parts, dim=2), state

    def encoder_step_in_place(
        self, audio: Tensor, states: FastEncoderState, rows: Tensor
    ) -> Tensor:
        """Steps the ``rows`` (B,) of ``states`` in place. audio (B, 200) -> codes (B, 6, 1)."""
        return self._encoder.steps.in_place((audio,), states, rows)

    def encoder_flush(self, state: FastEncoderState) -> Tensor:
        """Nothing (B, 6, 0): this model has no look-ahead."""
        return state.words.new_zeros(state.words.shape[0], CODE_LAYERS, 0)

    def encoder_timbre(self, state: FastEncoderState) -> Tensor:
        """Running estimate (B, 256) of the talkers' timbre."""
        return self._encoder.timbre(state.talker)

    def encoder_timbres(self, states: FastEncoderState, rows: Tensor) -> Tensor:
        """Running estimates (B, 256) of the talkers in the ``rows`` (B,) of ``states``."""
        return self._encoder.timbres(states.talker, rows)

    def decoder_state(self, batch: int = 1, seed: int = 0) -> FastDecoderState:
        """State of ``batch`` decoders before their first frame; ``seed`` fixes the noise."""
        return self._decoder.initial_state(batch, seed)

    def decoder_step(
        self, codes: Tensor, timbre: Tensor, state: FastDecoderState
    ) -> tuple[Tensor, FastDecoderState]:
        """codes (B, 6, n), timbre (B, 256) -> audio (B, 200 m)."""
        if codes.shape[2] > FEW[self.backend]:
            audio, after = self._model.decoder_step(codes, timbre, self._decoder.expand(state))
            return audio, self._decoder.compress(after, state, codes)
        parts = [timbre.new_zeros(len(codes), 0)]
        for frame in range(codes.shape[2]):
            audio, state = self._decoder.step(codes[:, :, frame : frame + 1], timbre, state)
            parts.append(audio)
        return torch.cat(parts, dim=1), state

    def decoder_step_in_place(
        self, codes: Tensor, timbre: Tensor, states: FastDecoderState, rows: Tensor
    ) -> Tensor | None:
        """Steps the ``rows`` (B,) of ``states`` in place. codes (B, 6, 1), timbre (B, 256) ->
        audio (B, 200); None before their first frame, which leads to another phase."""
        if not states.started:
            return None
        return self._decoder.steps.in_place((codes, timbre), states, rows)

    def decoder_skip(self, codes: Tensor, state: FastDecoderState) -> FastDecoderState:
        """The state after codes (B, 6, n), n > 0, that nobody heard, but for the pasts."""
        pitch = pitch_hertz(split(codes[:, 0])[0])
        synthesis = self._model.synthesizer.gone_by(pitch, state.synthesis)
        return replace(state, synthesis=synthesis)

    def decoder_flush(self, timbre: Tensor, state: FastDecoderState) -> Tensor:
        """The audio (B, 200 m) still owed."""
        return self._decoder.flush(state)
