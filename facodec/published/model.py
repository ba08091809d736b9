"""The published FACodec (version 1), offline and as a stream that gives exactly the same.

Parameters come from :func:`facodec.published.checkpoint.load_ns3`; a new model has random ones.
There is no training here, so no parameter asks for a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from facodec.config import ABSENT, CODE_LAYERS, HOP, MIN_LAYERS, TIMBRE_DIM, Latency, Ns3Config
from facodec.published.decoder import Decoder
from facodec.published.encoder import Encoder
from facodec.published.timbre import RunningTimbre, TimbreTracker

BLOCK_FRAMES = 40
"""Frames that an offline call hands to the convolutions at once: enough for fast matrix products,
few enough for their windows to stay in the cache, whatever the length of the audio."""


@dataclass(frozen=True)
class EncoderState:
    """State of the convolutions, and of the running timbre estimate."""

    convolutions: tuple[Any, ...]
    timbre: RunningTimbre


@dataclass(frozen=True)
class DecoderState:
    """State of the convolutions; ``ready`` (B, n): audio of a frame that is not complete yet."""

    convolutions: tuple[Any, ...]
    ready: Tensor


class Ns3Model(nn.Module):
    """Version 1 of the published model; implements :class:`facodec.model.CodecModel`, and
    :class:`facodec.model.Steps` itself."""

    name = "ns3"
    follows_source = False
    says_level = False
    decoder_memory: int | None = 80
    """More than twice the look-ahead, which reaches as far as the memory does."""
    decoding_parts: ClassVar[tuple[str, ...]] = ("decoder.timbre_linear", "decoder.model")
    """Modules that only turn codes into sound: other weights in them leave codes and timbres
    their meaning."""
    backend = "float32"
    """Precision it computes in; others come from :mod:`facodec.published.precisions`."""
    hops: ClassVar[tuple[int, ...]] = (8, 4, 2, 1)
    exact_sizes = False
    in_place = None

    def __init__(self, config: Ns3Config | None = None) -> None:
        super().__init__()
        self.config = config or Ns3Config()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        self._tracker = TimbreTracker(self.decoder.timbre_encoder, self.config.timbre_frames)
        self.eval().requires_grad_(False)

    @property
    def encoder_lookahead(self) -> int:
        """Samples past its end that a frame's codes depend on: 5,078 at the published sizes."""
        return int(self.encoder.lookahead)

    @property
    def decoder_lookahead(self) -> int:
        """Samples by which the decoder's audio lags behind the end of its newest frame: 5,526."""
        return int(self.decoder.model.lookahead * HOP)

    @property
    def latency(self) -> Latency:
        """True delays of a stream, as it hears and speaks in whole hops."""
        return Latency(
            encoder=_whole_hops(HOP + self.encoder_lookahead),
            decoder=_whole_hops(self.decoder_lookahead),
        )

    def steps(self, backend: str = "auto") -> Ns3Model:
        """The model itself. Raises ValueError for a backend it was not prepared for."""
        if backend not in ("auto", self.backend):
            raise ValueError(f"expected backend {self.backend!r} of a loaded ns3, got {backend!r}")
        return self

    @torch.inference_mode()
    def latent(self, audio: Tensor) -> Tensor:
        """audio (B, 200 T) -> the encoder's output (B, T, 256) before quantization."""
        _check_audio(audio)
        state, parts = self.encoder.initial_state(audio.shape[0]), []
        for block in audio.unsqueeze(-1).split(BLOCK_FRAMES * HOP, dim=1):
            part, state = self.encoder.step(block, state)
            parts.append(part)
        return torch.cat((*parts, self.encoder.finish(_none(audio).unsqueeze(-1), state)), dim=1)

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        """audio (B, 200 T) -> codes (B, 6, T)."""
        return self.decoder.quantize(self.latent(audio))

    @torch.inference_mode()
    def encode_with_timbre(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """audio (B, 200 T), T >= 1 -> codes (B, 6, T) and timbre (B, 256), in one pass."""
        latent = self.latent(audio)
        return self.decoder.quantize(latent), self.decoder.timbre_encoder(latent)

    @torch.inference_mode()
    def voice(self, audio: Tensor) -> Tensor:
        """Timbre (256,) of the speaker heard in audio (1, 200 T), T >= 1."""
        if audio.shape[0] != 1 or not audio.shape[1]:
            raise ValueError(f"expected audio (1, N) with N > 0, got {tuple(audio.shape)}")
        timbre: Tensor = self.decoder.timbre_encoder(self.latent(audio))[0]
        return timbre

    @torch.inference_mode()
    def decode(self, codes: Tensor, timbre: Tensor, seed: int = 0) -> Tensor:
        """codes (B, 6, T), timbre (B, 256) -> audio (B, 200 T); there is no noise to seed."""
        state, parts = self.decoder_state(codes.shape[0], seed), []
        for block in codes.split(BLOCK_FRAMES, dim=2):
            part, state = self.decoder_step(block, timbre, state)
            parts.append(part)
        return torch.cat((*parts, self.decoder_flush(timbre, state)), dim=1)

    @torch.inference_mode()
    def encoder_state(self, batch: int = 1) -> EncoderState:
        """State of ``batch`` encoders that have heard nothing."""
        return EncoderState(self.encoder.initial_state(batch), self._tracker.initial_state(batch))

    @torch.inference_mode()
    def encoder_step(self, audio: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """audio (B, 200 n) -> codes (B, 6, m): n frames once the look-ahead has filled."""
        _check_audio(audio)
        latent, convolutions = self.encoder.step(audio.unsqueeze(-1), state.convolutions)
        timbre = self._tracker.step(latent, state.timbre)
        return self.decoder.quantize(latent), EncoderState(convolutions, timbre)

    @torch.inference_mode()
    def encoder_flush(self, state: EncoderState) -> Tensor:
        """The frames (B, 6, m) still owed when the input has ended."""
        batch = state.timbre.heard.shape[0]
        nothing = state.timbre.latents.new_zeros(batch, 0, 1)
        return self.decoder.quantize(self.encoder.finish(nothing, state.convolutions))

    def encoder_timbre(self, state: EncoderState) -> Tensor | None:
        """The running estimate (B, 256) of the talkers' timbre, None in the first half second."""
        return self._tracker.estimate(state.timbre)

    @torch.inference_mode()
    def decoder_state(self, batch: int = 1, seed: int = 0) -> DecoderState:
        """State of ``batch`` decoders before their first frame; there is no noise to seed."""
        ready = self.decoder.timbre_linear.weight.new_zeros(batch, 0)
        return DecoderState(self.decoder.model.initial_state(batch), ready)

    @torch.inference_mode()
    def decoder_step(
        self, codes: Tensor, timbre: Tensor, state: DecoderState
    ) -> tuple[Tensor, DecoderState]:
        """codes (B, 6, n), timbre (B, 256) -> audio (B, 200 m): n frames once the look-ahead has
        filled. A new timbre applies from these frames on."""
        _check_frames(codes, timbre)
        conditioned = self.decoder.condition(self.decoder.embed(codes), timbre)
        raw, convolutions = self.decoder.model.step(conditioned, state.convolutions)
        audio = torch.cat((state.ready, torch.tanh(raw).squeeze(-1)), dim=1)
        whole = audio.shape[1] - audio.shape[1] % HOP
        return audio[:, :whole], DecoderState(convolutions, audio[:, whole:])

    @torch.inference_mode()
    def decoder_skip(self, codes: Tensor, state: DecoderState) -> DecoderState:
        return state

    def decoder_flush(self, timbre: Tensor, state: DecoderState) -> Tensor:
        """The audio (B, 200 m) still owed when the codes have ended. Its frames have been given
        their timbre already."""
        nothing = state.ready.new_zeros(state.ready.shape[0], 0, self.config.latent_dim)
        raw = self.decoder.model.finish(nothing, state.convolutions)
        return torch.cat((state.ready, torch.tanh(raw).squeeze(-1)), dim=1)

    def convert_codes(self, codes: Tensor, source: Tensor | None, target: Tensor) -> Tensor:
        """The codes (B, 6, n) without detail, which carries what is left of the source's voice."""
        converted = codes.clone()
        converted[:, MIN_LAYERS:] = ABSENT
        return converted

    def convert_timbre(self, source: Tensor | None, target: Tensor) -> Tensor:
        """The target's own."""
        return target


def _whole_hops(samples: int) -> int:
    return -(-samples // HOP) * HOP


def _none(audio: Tensor) -> Tensor:
    return audio[:, :0]


def _check_audio(audio: Tensor) -> None:
    if audio.ndim != 2 or audio.shape[1] % HOP:
        raise ValueError(
            f"expected audio (B, N) with N whole hops of {HOP}, got {tuple(audio.shape)}"
        )


def _check_frames(codes: Tensor, timbre: Tensor) -> None:
    if codes.ndim != 3 or codes.shape[1] != CODE_LAYERS:
        raise ValueError(f"expected codes (B, {CODE_LAYERS}, T), got {tuple(codes.shape)}")
    if timbre.shape != (codes.shape[0], TIMBRE_DIM):
        wanted = (codes.shape[0], TIMBRE_DIM)
        raise ValueError(f"expected a timbre {wanted}, got {tuple(timbre.shape)}")
