"""One pass of the live model over a batch, and everything it is asked to get right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facodec import prosody
from facodec.config import CODEBOOK_SIZE, CONTENT_LAYERS, DETAIL_LAYERS, HOP
from facodec.features import HISTORY
from facodec.live import PITCH_REFERENCE, LiveModel, Pasts, scale_mels
from facodec.quantizer import ResidualQuantizer
from facodec.training.batches import Batch
from facodec.training.config import TrainConfig
from facodec.training.losses import MelDistance, level_difference, pitch_targets
from facodec.training.perturb import perturb
from facodec.training.quantize import CodebookKeeper, Quantized, quantize

AVERAGE_VOICE_RATE = 0.01
"""Rate at which the average voice, the prior of a running timbre, follows the batches."""


@dataclass(frozen=True)
class Losses:
    """Scalars of one batch; ``total`` is what is minimised."""

    total: Tensor
    mel: Tensor
    pitch: Tensor
    commit: Tensor
    level: Tensor
    pitch_accuracy: Tensor
    words_used: Tensor

    def numbers(self) -> dict[str, float]:
        return {name: float(value.detach()) for name, value in vars(self).items()}


class Objective:
    """Runs the model as it will run live, but all frames at once and with the teacher's pitch."""

    def __init__(self, model: LiveModel, config: TrainConfig) -> None:
        self.model, self.config = model, config
        self.distance = MelDistance().to(model.average_first.device)
        self.random = torch.Generator().manual_seed(config.seed)
        self.keepers = {
            "content": CodebookKeeper(CONTENT_LAYERS, CODEBOOK_SIZE),
            "detail": CodebookKeeper(DETAIL_LAYERS, CODEBOOK_SIZE),
        }

    def __call__(self, batch: Batch, step: int) -> Losses:
        device = self.model.average_first.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.bf16):
            return self._losses(batch, step)

    def _losses(self, batch: Batch, step: int) -> Losses:
        model, c = self.model, self.config
        mels, correlation, level = self._features(batch.audio)
        size = len(mels)
        classes = prosody.pitch_class(batch.pitch)
        logits, _ = model.pitch_logits(mels, correlation, self._past("prosody", size))
        timbre = self._timbre(batch)
        content, detail = self._codes(mels, step)
        spoken, excitation = self._pitch_to_speak(batch.pitch, classes, logits, step)
        codes = prosody.join(spoken, prosody.level_class(level))
        envelopes, _ = model.envelopes(
            codes, content.words, detail.words, timbre.unsqueeze(1), self._past("decoder", size)
        )
        audio = self._synthesize(excitation, envelopes)[:, HOP:]
        wanted = batch.audio[:, HISTORY:-HOP].float()
        mel = self.distance(audio, wanted)
        louder = level_difference(audio, wanted)
        targets = pitch_targets(classes, prosody.PITCH_CLASSES)
        pitch = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(0, 1))
        commit = content.loss + detail.loss
        total = c.mel_weight * mel + c.pitch_weight * pitch + c.commit_weight * commit
        total = total + c.level_weight * louder
        near = (logits.argmax(-1) - classes).abs() <= 3
        same = (logits.argmax(-1) > 0) == (classes > 0)
        return Losses(
            total=total,
            mel=mel,
            pitch=pitch,
            commit=commit,
            level=louder,
            pitch_accuracy=(near & same).float().mean(),
            words_used=torch.tensor(float(len(content.codes[..., 0].unique()))),
        )

    def _features(self, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(audio.device.type, enabled=False), torch.no_grad():
            features: tuple[Tensor, Tensor, Tensor] = self.model.features(audio)
        return features

    def _past(self, stack: str, batch: int) -> Pasts:
        past: Pasts = getattr(self.model, stack).initial_state(batch, self.model.average_first)
        return past

    def _codes(self, mels: Tensor, step: int) -> tuple[Quantized, Quantized]:
        model, c = self.model, self.config
        size = len(mels)
        heard = perturb(mels, c.perturb, self.random)
        content_latent, _ = model.content(scale_mels(heard), self._past("content", size))
        everything = torch.full((size,), CONTENT_LAYERS)
        content = self._quantize("content", content_latent, everything, step)
        detail_latent, _ = model.detail_latent(mels, content.words, self._past("detail", size))
        truncated = torch.rand(size, generator=self.random) < c.truncate
        fewer = torch.randint(0, DETAIL_LAYERS, (size,), generator=self.random)
        kept = torch.where(truncated, fewer, torch.tensor(DETAIL_LAYERS))
        return content, self._quantize("detail", detail_latent, kept, step)

    def _quantize(self, name: str, latent: Tensor, kept: Tensor, step: int) -> Quantized:
        chain: ResidualQuantizer = getattr(self.model, f"{name}_quantizer")
        keeper, c = self.keepers[name], self.config
        kept, switched_on = kept.to(latent.device), step >= c.unquantized
        if step == c.unquantized:
            keeper.usage.zero_()  # every word begins as a vector of this batch
            keeper.restart(chain, quantize(chain, latent.detach(), kept, False)[1])
        quantized, vectors = quantize(chain, latent, kept, switched_on)
        if switched_on:
            keeper.count(quantized.codes)
            if step % c.restart_every == 0:
                keeper.restart(chain, vectors)
        return quantized

    def _timbre(self, batch: Batch) -> Tensor:
        """Timbre (B, 256) of the references; also lets the average voice follow."""
        model = self.model
        mels, _, _ = self._features(batch.reference)
        hidden, _ = model.timbre(scale_mels(mels), self._past("timbre", len(mels)))
        voiced = (batch.reference_pitch > 0).float()
        weight = voiced.sum(1, keepdim=True) + 1.0
        share = (voiced / weight).unsqueeze(-1)
        rest = 1.0 / weight
        first = (hidden.float() * share).sum(1) + rest * model.average_first
        second = (hidden.float().square() * share).sum(1) + rest * model.average_second
        logs = torch.log2(batch.reference_pitch.clamp_min(1.0) / PITCH_REFERENCE)
        octaves = (logs * voiced).sum(1, keepdim=True) / weight
        with torch.no_grad():
            model.average_first.lerp_(first.mean(0), AVERAGE_VOICE_RATE)
            model.average_second.lerp_(second.mean(0), AVERAGE_VOICE_RATE)
        return model.timbre_vector(first, second, octaves).float()

    def _pitch_to_speak(
        self, pitch: Tensor, classes: Tensor, logits: Tensor, step: int
    ) -> tuple[Tensor, Tensor]:
        """Pitch classes and Hz (B, T) that the decoder gets: the teacher's, or in some rows, as it
        will be in use, what the encoder found."""
        c = self.config
        share = c.own_pitch if step >= c.own_pitch_from else 0.0
        own = (torch.rand(len(pitch), generator=self.random) < share).to(pitch.device)
        found = logits.detach().argmax(-1)
        spoken = torch.where(own.unsqueeze(1), found, classes)
        return spoken, torch.where(own.unsqueeze(1), prosody.pitch_hertz(found).float(), pitch)

    def _synthesize(self, pitch: Tensor, envelopes: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Audio (B, 200 T) from the hop before the first frame on, at the jittered pitch."""
        jitter = 1.0 + self.config.pitch_jitter * torch.randn(
            pitch.shape, generator=self.random
        ).to(pitch)
        synthesizer = self.model.synthesizer
        seed = int(torch.randint(1 << 30, (), generator=self.random))
        with torch.autocast(pitch.device.type, enabled=False):
            audio, _ = synthesizer(
                pitch * jitter,
                *(envelope.float() for envelope in envelopes),
                synthesizer.initial_state(len(pitch), seed),
            )
        result: Tensor = audio
        return result
