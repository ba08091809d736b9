"""Training of what content says too: its branch and words, detail's, and the decoder together.

Pitch and timbre stay as they were. What content says has to serve two ends: with detail, or without
some of it, the recording; without any, in another's voice, the words of the source and the voice of
the target, as two frozen teachers hear them who know nothing of the codec
(:mod:`facodec.training.words_heard`, :mod:`facodec.training.voice_heard`). The gradient of both
reaches the branch through its words (straight-through): a speaker it gives away costs there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facodec.bundled.features import HISTORY
from facodec.bundled.model import LiveModel
from facodec.config import CODEBOOK_SIZE, CONTENT_LAYERS, HOP
from facodec.training import fused
from facodec.training.config import TrainConfig
from facodec.training.decoding import WARM_UP, CodedBatch, CodedSampler, DecoderLosses
from facodec.training.detail import DETAIL, DetailObjective
from facodec.training.losses import level_difference
from facodec.training.perturb import perturb
from facodec.training.quantize import CodebookKeeper, Quantized, disagreement, quantize
from facodec.training.voice_heard import load_speaker_encoder
from facodec.training.words_heard import load_whisper_encoder

CONTENT = ("content", "content_quantizer")
"""Parts that are trained besides those of stage ``detail``."""
SPANS = 2
"""Parts of 0.8 s of each row that the teacher of voices hears."""


@dataclass(frozen=True)
class ContentLosses(DecoderLosses):
    """With what conversions are asked for: words as in the source, the target's voice; and the
    cosines of that voice to the target's and to the source's."""

    words: Tensor | float = 0.0
    likeness: Tensor | float = 0.0
    to_target: Tensor | float = 0.0
    to_source: Tensor | float = 0.0
    content_commit: Tensor | float = 0.0
    agree: Tensor | float = 0.0


@dataclass(frozen=True)
class Said:
    """Content of a batch as heard from changed voices; ``own`` (R, T, width), the words of its
    R rows as they are in use; and ``agree``, how far those rows' latents are apart."""

    content: Quantized
    own: Tensor
    agree: Tensor


class ContentObjective(DetailObjective):
    """Hears and speaks as in use, but all frames at once."""

    trained = (*LiveModel.decoding_parts, *DETAIL, *CONTENT)

    def __init__(self, model: LiveModel, config: TrainConfig, sampler: CodedSampler) -> None:
        super().__init__(model, config, sampler)
        device = model.average_first.device
        self.keepers = {"content": CodebookKeeper(CONTENT_LAYERS, CODEBOOK_SIZE)}
        self.listener = load_whisper_encoder().to(device)
        self.speaker = load_speaker_encoder().to(device)
        self._content_latent = fused.fused(fused.content_latent, config.fuse)

    def __call__(self, batch: CodedBatch, step: int) -> ContentLosses:
        if not self.words.placed:
            self.words.start(self.chain)
        rows = max(1, int(len(batch.codes) * self.config.convert))
        with torch.no_grad():
            mels, _, _ = self.model.features(F.pad(batch.heard, (HISTORY, 0)))
        restart = step % self.config.restart_every == 0
        with self._cast(batch):
            said = self._said(mels, rows, restart)
            latent = self._latent(self.model, mels, said.content.words)
        kept = self._layers_kept(len(latent))
        detail, commit = self.words.quantize(self.chain, latent, kept, restart)
        return self._losses_of(batch, said, detail, commit)

    def _said(self, mels: Tensor, rows: int, restart: bool) -> Said:
        """Content as heard from ``mels``, some of them perturbed, and from the first ``rows`` as
        they are."""
        perturbed = perturb(mels, self.config.perturb, self.random)
        latent = self._content_latent(self.model, torch.cat((perturbed, mels[:rows])))
        everything = torch.full((len(latent),), CONTENT_LAYERS, device=mels.device)
        chain = self.model.content_quantizer
        said, vectors = quantize(chain, latent, everything, True)
        keeper = self.keepers["content"]
        keeper.count(said.codes)
        if restart:
            keeper.restart(chain, vectors)
        size = len(mels)
        agree = disagreement(chain, latent[:rows], latent[size:])
        content = Quantized(said.words[:size], said.loss, said.codes)
        return Said(content, said.words[size:], agree)

    def _losses_of(
        self, batch: CodedBatch, said: Said, detail: Tensor, commit: Tensor
    ) -> ContentLosses:
        c, size = self.config, len(detail)
        codes, envelopes, colour = self._with_conversions(
            batch, said.content.words, said.own, detail
        )
        spoken = self._audio(codes, envelopes)
        ours, converted = spoken[:size], spoken[size:]
        meant = batch.audio[:, WARM_UP * HOP : -HOP]
        with self._cast(batch):
            mel = self._distance(ours, meant)
        verdict = self.judges(ours, meant)
        level = level_difference(ours, meant) + level_difference(converted, meant[: len(converted)])
        words, likeness, to_target, to_source = self._heard(converted, batch)
        total = (
            c.mel_weight * mel
            + c.level_weight * level
            + c.decoder_kept_weight * colour
            + c.commit_weight * (commit + said.content.loss)
            + c.agree_weight * said.agree
            + c.words_weight * words
            + c.likeness_weight * likeness
            + verdict.total
        )
        return ContentLosses(
            total=total,
            mel=mel,
            level=level,
            kept=colour,
            pesq=verdict.pesq,
            stoi=verdict.stoi,
            periodicity=verdict.periodicity,
            commit=commit,
            words_used=self.words.in_use(),
            words=words,
            likeness=likeness,
            to_target=to_target,
            to_source=to_source,
            content_commit=said.content.loss,
            agree=said.agree,
        )

    def _heard(self, converted: Tensor, batch: CodedBatch) -> tuple[Tensor, ...]:
        """Conversions (R, N) as the teachers hear them: the distance of words from the source's,
        that of the voice from the target's, which is to be nearer than the source by a margin, and
        the cosines to both."""
        rows = len(converted)
        with torch.no_grad():
            recorded = batch.audio[:, WARM_UP * HOP : -HOP]
            voices = self.speaker(torch.cat((recorded[:rows], recorded.roll(1, 0)[:rows])), SPANS)
            source, target = voices[:rows], voices[rows:]
        voice = self.speaker(converted, SPANS)
        with self._cast(batch):
            said = self.listener(converted)
            with torch.no_grad():
                meant = self.listener(recorded[:rows])
        words = 1.0 - F.cosine_similarity(said.float(), meant.float(), dim=-1).mean()
        to_target = F.cosine_similarity(voice, target, dim=-1)
        to_source = F.cosine_similarity(voice, source, dim=-1)
        nearer = F.relu(to_source - to_target + self.config.likeness_margin)
        likeness = (1.0 - to_target + nearer).mean()
        return words, likeness, to_target.mean().detach(), to_source.mean().detach()
