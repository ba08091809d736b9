"""Training of what detail says: its branch of the encoder, its words and the decoder together.

Pitch, content and timbre stay as they were, and their codes are known; so is what conversions sound
like (see :mod:`facodec.training.decoding`). For the first steps the decoder hears the latents
themselves, which shows what more bits would bring. Then words are placed among them (their largest
principal components, k-means layer by layer), and from there on everything adapts to everything.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from facodec.bundled import prosody
from facodec.bundled.features import HISTORY
from facodec.bundled.model import LiveModel
from facodec.bundled.synthesis import SUBFRAMES
from facodec.config import DETAIL_LAYERS, HOP, MIN_LAYERS, PROSODY_LAYERS
from facodec.quantizer import SharedQuantizer
from facodec.training import fused
from facodec.training.config import TrainConfig
from facodec.training.decoding import (
    WARM_UP,
    CodedBatch,
    CodedSampler,
    DecoderLosses,
    DecoderObjective,
)
from facodec.training.losses import level_difference
from facodec.training.words import MovingWords, place_words, principal_components

DETAIL = ("detail", "detail_quantizer")
"""Parts that are trained besides the decoder."""
FILLING = 3
"""Frames of synthesis before the first that is compared: responses of those before still sound."""


class DetailObjective(DecoderObjective):
    """Hears and speaks as in use, but all frames at once. ``sampler`` gives the latents among which
    the words are placed."""

    trained = (*LiveModel.decoding_parts, *DETAIL)

    def __init__(self, model: LiveModel, config: TrainConfig, sampler: CodedSampler) -> None:
        super().__init__(model, config)
        self.sampler = sampler
        if not isinstance(model.detail_quantizer, SharedQuantizer):
            raise ValueError("expected a model whose detail has one space, got one of many")
        self.chain = model.detail_quantizer
        for layer in self.chain.places:
            layer.requires_grad_(False)  # words follow the vectors they stand for, see MovingWords
        self.words = MovingWords(self.chain)
        self.networks["words"] = self.words
        on = config.fuse
        self._latent = fused.fused(fused.detail_latent, on)
        self._spoken = fused.fused(fused.envelopes, on)
        self._sound = fused.fused(fused.synthesize, on)
        self._distance = fused.fused(self.distance.forward, on)

    def __call__(self, batch: CodedBatch, step: int) -> DecoderLosses:
        quantized = step >= self.config.unquantized
        if quantized and not self.words.placed:
            if self.config.unquantized >= 0:
                self._place_words()
            self.words.start(self.chain)
        return self._detail_losses(batch, quantized, step)

    def latent(self, batch: CodedBatch) -> Tensor:
        """Output of the branch for a batch (B, T, width), float32."""
        with torch.no_grad():
            mels, _, _ = self.model.features(F.pad(batch.heard, (HISTORY, 0)))
        with self._cast(batch):
            return self._latent(self.model, mels, self._content(self.model, batch.codes))

    def _detail_losses(self, batch: CodedBatch, quantized: bool, step: int) -> DecoderLosses:
        c, rows = self.config, max(1, int(len(batch.codes) * self.config.convert))
        if c.silence_weight and step % c.restart_every == 0:
            self.quiet.hear(self.model, self.random)
        latent, kept = self.latent(batch), self._layers_kept(len(batch.codes))
        commit = latent.new_zeros(())
        if quantized:
            restart = step % c.restart_every == 0
            detail, commit = self.words.quantize(self.chain, latent, kept, restart)
        else:
            detail = latent * (kept > 0).to(latent).view(-1, 1, 1)
        with self._cast(batch):
            content = self._content(self.model, batch.codes)
        _, envelopes, kept_apart = self._with_conversions(batch, content, content[:rows], detail)
        ours = tuple(e[: len(detail)] for e in envelopes)
        said, meant = self._audio(batch.codes, ours), batch.audio[:, WARM_UP * HOP : -HOP]
        with self._cast(batch):
            mel = self._distance(said, meant)
        level = level_difference(said, meant)
        verdict = self.judges(said, meant)
        silence, noise = self._louder(batch)
        total = (
            c.mel_weight * mel
            + c.level_weight * level
            + c.decoder_kept_weight * kept_apart
            + c.commit_weight * commit
            + c.silence_weight * (silence + noise)
            + verdict.total
        )
        return DecoderLosses(
            total,
            mel,
            level,
            kept_apart,
            verdict.pesq,
            verdict.stoi,
            verdict.periodicity,
            commit,
            self.words.in_use(),
            silence,
            noise,
        )

    def _with_conversions(
        self, batch: CodedBatch, content: Tensor, own: Tensor, detail: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Codes (B + R, 6, T) and envelopes (B + R, 2 T, bands) of the batch and, behind it, of the
        conversions of its first R rows, whose words of content are ``own`` (R, T, width) and which
        hear no detail; and the mean distance of the latter's from those before the training."""
        size, rows = len(detail), len(own)
        source, target = batch.timbre[:rows], batch.other[:rows]
        changed = self.before.convert_codes(batch.codes[:rows], source, target)
        timbre = self.before.convert_timbre(source, target)
        silent, codes = torch.zeros_like(detail[:rows]), torch.cat((batch.codes, changed))
        with self._cast(batch):
            envelopes = self._spoken(
                self.model,
                codes[:, 0],
                torch.cat((content, own)),
                torch.cat((detail, silent)),
                torch.cat((batch.timbre, timbre)).unsqueeze(1),
            )
            if not self.config.decoder_kept_weight:
                return codes, envelopes, detail.new_zeros(())
            with torch.no_grad():
                before = self._content(self.before, changed)
                wanted = self._spoken(
                    self.before, changed[:, 0], before, silent, timbre.unsqueeze(1)
                )
        pairs = zip(envelopes[:2], wanted[:2], strict=True)
        apart = sum((F.l1_loss(a[size:], b) for a, b in pairs), detail.new_zeros(()))
        return codes, envelopes, apart

    def _audio(self, codes: Tensor, envelopes: tuple[Tensor, ...]) -> Tensor:
        """The sound of the frames of codes (B, 6, T) that are compared."""
        pitch = prosody.pitch_hertz(prosody.split(codes[:, 0])[0]).float()
        jitter = torch.randn(pitch.shape, generator=self.random).to(pitch)
        seed = int(torch.randint(1 << 30, (), generator=self.random))
        first = WARM_UP - FILLING
        pulses, noise = fused.excitation(
            self.model.synthesizer, pitch * (1.0 + self.config.pitch_jitter * jitter), first, seed
        )
        harmonic, hiss, correction = (e[:, SUBFRAMES * first :] for e in envelopes)
        audio = self._sound(self.model.synthesizer, harmonic, hiss, correction, pulses, noise)
        return audio[:, (FILLING + 1) * HOP :]  # the decoder speaks a hop late

    @staticmethod
    def _content(model: LiveModel, codes: Tensor) -> Tensor:
        with torch.no_grad():
            content = codes[:, PROSODY_LAYERS:MIN_LAYERS].transpose(1, 2)
            return model.content_quantizer.decode(content)

    def _layers_kept(self, size: int) -> Tensor:
        """Number of detail codes that each row hears (B,)."""
        c = self.config
        draw = torch.rand(size, generator=self.random)
        fewer = torch.randint(1, DETAIL_LAYERS, (size,), generator=self.random)
        kept = torch.where(draw < c.no_detail + c.truncate, fewer, torch.tensor(DETAIL_LAYERS))
        kept = torch.where(draw < c.no_detail, torch.tensor(0), kept)
        return kept.to(self.model.average_first.device)

    def _cast(self, batch: CodedBatch) -> torch.autocast:
        device = batch.audio.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.config.bf16)

    @torch.no_grad()
    def _place_words(self) -> None:
        """The space: the largest principal components of some batches' latents; the words: k-means
        of what is found there."""
        latents = torch.cat([self._settled(b) for b in self._batches()])
        directions = principal_components(latents, self.chain.in_proj.out_features)
        self.chain.in_proj.weight.copy_(directions)
        self.chain.in_proj.bias.zero_()
        self.chain.out_proj.weight.copy_(directions.t())
        place_words(self.chain, latents @ directions.t(), self.random)

    def _batches(self) -> Iterable[CodedBatch]:
        return (self.sampler.draw() for _ in range(self.config.placing))

    def _settled(self, batch: CodedBatch) -> Tensor:
        return self.latent(batch)[:, WARM_UP:].flatten(0, 1)
