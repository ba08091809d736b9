"""The network of the bundled causal model: FACodec's frames at 25 ms of algorithmic latency.

Encoder: causal log-mels and autocorrelation feed four small ConvNeXt branches at 80 Hz: prosody (a
pitch classifier; the code is pitch and level themselves), content, detail (sees what content said)
and timbre. Decoder: ConvNeXt blocks conditioned on the timbre predict two spectral envelopes and a
phase correction per frame; pulses at the coded pitch and noise are shaped by them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled import prosody
from facodec.bundled.causal import CausalStack
from facodec.bundled.conditioning import Conditioning
from facodec.bundled.features import HISTORY, LAGS, MEL_BANDS, CausalFeatures, cepstral_lifter
from facodec.bundled.synthesis import SUBFRAMES, SynthesisState, Synthesizer
from facodec.bundled.talker import (
    LONG,
    PRIOR_FRAMES,
    SHORT,
    Memories,
    VoiceStatistics,
    is_speech,
    median_octaves,
    need_speech,
    reconcile,
    remember,
)
from facodec.config import (
    ABSENT,
    CONTENT_LAYERS,
    DETAIL_LAYERS,
    HOP,
    MIN_LAYERS,
    PROSODY_LAYERS,
    TIMBRE_DIM,
    Latency,
    LiveConfig,
)
from facodec.quantizer import Quantizer, ResidualQuantizer, SharedQuantizer

VOICE_DIM = TIMBRE_DIM - 1
"""Learned entries of a timbre vector, of unit length together."""
GLIDE = 0.1
"""Share of the way to a new timbre the decoder goes in one frame: 125 ms time constant."""
BLOCK_FRAMES = 256
"""Frames an offline call handles at once, so that its memory does not grow with the audio."""


def block_sizes(frames: int) -> list[int]:
    """Sizes of the blocks that so many frames are handled in, one after the other: the longest
    first, then powers of two, as for every new size the libraries below compile and keep code."""
    full, rest = divmod(frames, BLOCK_FRAMES)
    powers = [1 << bit for bit in reversed(range(rest.bit_length())) if rest >> bit & 1]
    return [BLOCK_FRAMES] * full + powers or [0]


Pasts = tuple[Tensor, ...]


@dataclass(frozen=True)
class EncoderState:
    """history (B, 600) conditioned samples, what the conditioning keeps (B, 6), ``fresh`` (B,)
    before the first frame, the pasts of the four branches, and the talker so far."""

    history: Tensor
    conditioning: Tensor
    fresh: Tensor
    prosody: Pasts
    content: Pasts
    detail: Pasts
    timbre: Pasts
    voice: Memories


@dataclass(frozen=True)
class DecoderState:
    """pasts of the blocks, the timbre (B, 256) gliding to its target, ``fresh`` (B,) before the
    first frame, the synthesis, and whether the hop before the first frame has been dropped."""

    blocks: Pasts
    timbre: Tensor
    fresh: Tensor
    synthesis: SynthesisState
    started: bool


class LiveNetwork(nn.Module):
    """See the module's docstring; what streams compute with is added by
    :class:`facodec.bundled.model.LiveModel`."""

    name = "live"
    latency = Latency(encoder=HOP, decoder=HOP)
    follows_source = True
    says_level = True
    decoding_parts: ClassVar[tuple[str, ...]] = (
        "pitch_embedding", "level_embedding", "decoder", "condition", "head_norm", "head",
    )  # fmt: skip
    """Modules that only turn codes into sound: other weights in them leave codes and timbres
    their meaning."""
    steer = 0.6
    """Distance that a conversion goes beyond the target's timbre, away from the source's, of which
    the codes still give a little away."""

    def __init__(self, config: LiveConfig | None = None) -> None:
        super().__init__()
        c = self.config = config or LiveConfig()
        self.conditioning = Conditioning()
        self.features = CausalFeatures()
        self.prosody = CausalStack(MEL_BANDS + LAGS, c.prosody_width, c.prosody_blocks)
        self.pitch_head = nn.Linear(c.prosody_width, prosody.PITCH_CLASSES)
        lifter = cepstral_lifter(MEL_BANDS, c.content_cepstra)
        self.register_buffer("lifter", lifter, persistent=False)
        self.content = CausalStack(MEL_BANDS, c.content_width, c.content_blocks)
        self.detail = CausalStack(MEL_BANDS + c.content_width, c.content_width, c.detail_blocks)
        self.content_quantizer = ResidualQuantizer(c.content_width, CONTENT_LAYERS)
        self.detail_quantizer: Quantizer = (
            SharedQuantizer(c.content_width, DETAIL_LAYERS, c.detail_space)
            if c.detail_space
            else ResidualQuantizer(c.content_width, DETAIL_LAYERS)
        )
        self.timbre = CausalStack(MEL_BANDS, c.timbre_width, c.timbre_blocks)
        self.voice_head = nn.Linear(2 * c.timbre_width, VOICE_DIM)
        self.register_buffer("average_first", torch.zeros(c.timbre_width))
        self.register_buffer("average_second", torch.ones(c.timbre_width))

        self.pitch_embedding = nn.Embedding(prosody.PITCH_CLASSES, c.decoder_width)
        self.level_embedding = nn.Embedding(prosody.LEVELS, c.decoder_width)
        self.decoder = CausalStack(2 * c.content_width, c.decoder_width, c.decoder_blocks)
        self.condition = nn.Sequential(
            nn.Linear(TIMBRE_DIM, c.condition_width),
            nn.SiLU(),
            nn.Linear(c.condition_width, c.decoder_blocks * 2 * c.decoder_width),
        )
        self.head_norm = nn.LayerNorm(c.decoder_width)
        self.head = nn.Linear(c.decoder_width, SUBFRAMES * (2 * c.bands + c.phase_bands))
        self.synthesizer = Synthesizer(c.bands, c.phase_bands)

    lifter: Tensor
    average_first: Tensor
    average_second: Tensor

    # ------------------------------------------------------------------ encoder

    def encoder_state(self, batch: int = 1) -> EncoderState:
        like = self.average_first
        stacks = {
            name: getattr(self, name).initial_state(batch, like)
            for name in ("prosody", "content", "detail", "timbre")
        }
        nobody = VoiceStatistics.none(batch, like.shape[0], like.device)
        return EncoderState(
            history=like.new_zeros(batch, HISTORY),
            conditioning=self.conditioning.initial_state(batch),
            fresh=like.new_ones(batch, dtype=torch.bool),
            voice=Memories(nobody, nobody),
            **stacks,
        )

    def encoder_step(self, audio: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        if audio.shape[1] == 0:
            return audio.new_zeros(audio.shape[0], 6, 0, dtype=torch.long), state
        before = self.conditioning.settled(audio, state.conditioning, state.fresh)
        conditioned, conditioning = self.conditioning(audio, before)
        padded = torch.cat((state.history, conditioned), dim=1)
        mels, correlation, level = self.features(padded)
        logits, prosody_past = self.pitch_logits(mels, correlation, state.prosody)
        pitch = logits.argmax(-1)
        content, content_past = self.content_latent(mels, state.content)
        content_codes, content_words = self.content_quantizer.encode(content)
        detail, detail_past = self.detail_latent(mels, content_words, state.detail)
        detail_codes, _ = self.detail_quantizer.encode(detail)
        voice, timbre_past = self.hear_voice(mels, pitch, state.voice, state.timbre)
        prosody_codes = prosody.join(pitch, prosody.level_class(level)).unsqueeze(-1)
        codes = torch.cat((prosody_codes, content_codes, detail_codes), dim=-1)
        after = EncoderState(
            history=padded[:, -HISTORY:],
            conditioning=conditioning,
            fresh=torch.zeros_like(state.fresh),
            prosody=prosody_past,
            content=content_past,
            detail=detail_past,
            timbre=timbre_past,
            voice=voice,
        )
        return codes.transpose(1, 2), after

    def encoder_flush(self, state: EncoderState) -> Tensor:
        return state.history.new_zeros(state.history.shape[0], 6, 0, dtype=torch.long)

    def encoder_timbre(self, state: EncoderState) -> Tensor:
        memories = state.voice
        return reconcile(self._timbre_of(memories.long), self._timbre_of(memories.short))

    def _timbre_of(self, voice: VoiceStatistics) -> Tensor:
        """Timbre (B, 256) of what one memory holds."""
        weight = (voice.weight + PRIOR_FRAMES).unsqueeze(1)
        first = (voice.first + PRIOR_FRAMES * self.average_first) / weight
        second = (voice.second + PRIOR_FRAMES * self.average_second) / weight
        octaves = median_octaves(voice.pitches).unsqueeze(1)
        return self.timbre_vector(first.float(), second.float(), octaves.float())

    def encode(self, audio: Tensor) -> Tensor:
        return self._listen(audio)[0]

    def voice(self, audio: Tensor) -> Tensor:
        whole = F.pad(audio, (0, -audio.shape[1] % HOP))
        heard = self._listen(whole)[1].voice.long
        need_speech(float(heard.weight[0]), audio.shape[1])
        return self._timbre_of(heard)[0]

    def encode_with_timbre(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """audio (B, 200 T) -> codes (B, 6, T) and timbre (B, 256), in one pass."""
        codes, state = self._listen(audio)
        return codes, self.encoder_timbre(state)

    def _listen(self, audio: Tensor) -> tuple[Tensor, EncoderState]:
        state, parts = self.encoder_state(audio.shape[0]), []
        for block in audio.split([n * HOP for n in block_sizes(audio.shape[1] // HOP)], dim=1):
            codes, state = self.encoder_step(block, state)
            parts.append(codes)
        return torch.cat(parts, dim=2), state

    # ------------------------------------------------------- parts the training shares

    def pitch_logits(self, mels: Tensor, correlation: Tensor, past: Pasts) -> tuple[Tensor, Pasts]:
        """(B, T, 80), (B, T, 256) -> logits (B, T, 128)."""
        hidden, past = self.prosody(torch.cat((scale_mels(mels), correlation), dim=-1), past)
        return self.pitch_head(hidden), past

    def content_latent(self, mels: Tensor, past: Pasts) -> tuple[Tensor, Pasts]:
        """log-mels (B, T, 80) -> what is said (B, T, width), from the spectral envelope alone."""
        latent: tuple[Tensor, Pasts] = self.content(scale_mels(mels) @ self.lifter, past)
        return latent

    def detail_latent(self, mels: Tensor, content: Tensor, past: Pasts) -> tuple[Tensor, Pasts]:
        """log-mels and the content words (B, T, width) -> what is left to say (B, T, width)."""
        latent: tuple[Tensor, Pasts] = self.detail(
            torch.cat((scale_mels(mels), content), dim=-1), past
        )
        return latent

    def hear_voice(
        self, mels: Tensor, pitch: Tensor, voice: Memories, past: Pasts
    ) -> tuple[Memories, Pasts]:
        """Add what is speech in mels (B, T, 80), pitch classes (B, T), to both memories."""
        hidden, past = self.timbre(scale_mels(mels), past)
        heard = hidden, pitch, is_speech(mels, pitch)
        long, short = remember(voice.long, LONG, *heard), remember(voice.short, SHORT, *heard)
        return Memories(long, short), past

    def timbre_vector(self, first: Tensor, second: Tensor, octaves: Tensor) -> Tensor:
        """Moments (B, width) and typical pitch (B, 1) in octaves -> timbre (B, 256)."""
        deviation = torch.sqrt((second - first.square()).clamp_min(1e-5))
        learned = F.normalize(self.voice_head(torch.cat((first, deviation), dim=-1)), dim=-1)
        return torch.cat((learned, octaves), dim=-1)

    def envelopes(
        self, codes: Tensor, content: Tensor, detail: Tensor, timbre: Tensor, past: Pasts
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Pasts]:
        """prosody codes (B, T), words (B, T, width) and timbre (B, T or 1, 256) -> natural-log
        gains of pulses and noise (B, 2 T, bands), phase correction (B, 2 T, phase_bands)."""
        pitch, level = prosody.split(codes)
        said = torch.cat((content, detail), dim=-1)
        x = self.decoder.enter(said) + self.pitch_embedding(pitch) + self.level_embedding(level)
        c = self.config
        scaled = torch.cat((timbre[..., :-1] * math.sqrt(VOICE_DIM), timbre[..., -1:]), dim=-1)
        conditions = self.condition(scaled).split(c.decoder_width, dim=-1)
        after = []
        for i, block in enumerate(self.decoder.blocks):
            x, kept = block(x, past[i], (conditions[2 * i], conditions[2 * i + 1]))
            after.append(kept)
        predicted = self.head(self.head_norm(x)).unflatten(-1, (SUBFRAMES, -1)).flatten(1, 2)
        out = predicted.split((c.bands, c.bands, c.phase_bands), dim=-1)
        harmonic, noise = (GAIN_CENTRE + GAIN_RANGE * torch.tanh(g / GAIN_RANGE) for g in out[:2])
        return (harmonic, noise, out[2]), tuple(after)

    # ------------------------------------------------------------------ decoder

    def decoder_state(self, batch: int = 1, seed: int = 0) -> DecoderState:
        like = self.average_first
        return DecoderState(
            blocks=self.decoder.initial_state(batch, like),
            timbre=like.new_zeros(batch, TIMBRE_DIM),
            fresh=like.new_ones(batch, dtype=torch.bool),
            synthesis=self.synthesizer.initial_state(batch, seed),
            started=False,
        )

    def decoder_step(
        self, codes: Tensor, timbre: Tensor, state: DecoderState
    ) -> tuple[Tensor, DecoderState]:
        frames = codes.shape[2]
        if frames == 0:
            return timbre.new_zeros(codes.shape[0], 0), state
        prosody_codes, content_codes, detail_codes = codes.transpose(1, 2).split(
            (PROSODY_LAYERS, CONTENT_LAYERS, DETAIL_LAYERS), dim=-1
        )
        glide = _glide(timbre, state, frames)
        (harmonic, noise, correction), blocks = self.envelopes(
            prosody_codes[..., 0],
            self.content_quantizer.decode(content_codes),
            self.detail_quantizer.decode(detail_codes),
            glide,
            state.blocks,
        )
        pitch = prosody.pitch_hertz(prosody.split(prosody_codes[..., 0])[0])
        audio, synthesis = self.synthesizer(pitch, harmonic, noise, correction, state.synthesis)
        after = DecoderState(
            blocks=blocks,
            timbre=glide[:, -1],
            fresh=torch.zeros_like(state.fresh),
            synthesis=synthesis,
            started=True,
        )
        return audio if state.started else audio[:, HOP:], after

    def decoder_flush(self, timbre: Tensor, state: DecoderState) -> Tensor:
        return state.synthesis.tail[:, : HOP if state.started else 0]

    def decode(self, codes: Tensor, timbre: Tensor, seed: int = 0) -> Tensor:
        state, parts = self.decoder_state(codes.shape[0], seed), []
        for block in codes.split(block_sizes(codes.shape[2]), dim=2):
            audio, state = self.decoder_step(block, timbre, state)
            parts.append(audio)
        return torch.cat((*parts, self.decoder_flush(timbre, state)), dim=1)

    def convert_codes(self, codes: Tensor, source: Tensor | None, target: Tensor) -> Tensor:
        """Drop the detail, which speaks of the source, and move the pitch by the distance of the
        two medians."""
        kept = codes.clone()
        kept[:, MIN_LAYERS:] = ABSENT
        if source is not None:
            kept[:, :1] = prosody.shift(kept[:, :1], (target - source)[:, -1].view(-1, 1, 1))
        return kept

    def convert_timbre(self, source: Tensor | None, target: Tensor) -> Tensor:
        """The target's (B, 256), its learned part v pushed away from the source's u: v + steer
        (v - u), of unit length again; guidance as Ho & Salimans (2022) guide diffusion models."""
        if source is None:
            return target
        there, here = target[:, :VOICE_DIM], source[:, :VOICE_DIM]
        pushed = F.normalize(there + self.steer * (there - here), dim=-1)
        return torch.cat((pushed, target[:, VOICE_DIM:]), dim=-1)


MEL_CENTRE, MEL_SPREAD = -2.2, 1.1
"""Mean and deviation of log10-mels of speech, about."""
GAIN_CENTRE, GAIN_RANGE = -5.0, 9.0
"""Natural-log gains are squashed softly into centre +- range: nothing can overflow."""


def scale_mels(mels: Tensor) -> Tensor:
    """log10-mels to about zero mean and unit deviation, by constants."""
    return (mels - MEL_CENTRE) / MEL_SPREAD


def _glide(target: Tensor, state: DecoderState, frames: int) -> Tensor:
    """Timbre (B, frames, 256) on its way to target (B, 256); a first frame starts there."""
    start = torch.where(state.fresh.unsqueeze(1), target, state.timbre).unsqueeze(1)
    steps = torch.arange(1, frames + 1, device=target.device, dtype=target.dtype)
    left = (1.0 - GLIDE) ** steps
    return target.unsqueeze(1) + (start - target.unsqueeze(1)) * left.view(1, -1, 1)


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters())
