"""Training of what content says too: its branch and words, detail's, and the decoder together.

Pitch stays as it was. What content says has to serve two ends: with detail, or without some of it,
the recording; without any, in another's voice, the words of the source and the voice of the target,
as frozen teachers hear them who know nothing of the codec (:mod:`facodec.training.teachers`). Their
gradient reaches the branch through its words (straight-through): a speaker it gives away costs
there. With the teacher who verifies speakers timbre is trained too, from recordings of the speaker:
it is to tell what that teacher hears of a voice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled.features import HISTORY
from facodec.bundled.model import VOICE_DIM, LiveModel
from facodec.bundled.talker import PRIOR_FRAMES, is_speech
from facodec.config import CODEBOOK_SIZE, CONTENT_LAYERS, HOP
from facodec.training import fused
from facodec.training.config import TrainConfig
from facodec.training.decoding import WARM_UP, CodedBatch, CodedSampler, DecoderLosses
from facodec.training.detail import DETAIL, DetailObjective
from facodec.training.losses import ColourDistance, level_difference
from facodec.training.perturb import perturb
from facodec.training.quantize import CodebookKeeper, Quantized, disagreement, quantize
from facodec.training.reader import WordsReader
from facodec.training.teachers import Teachers
from facodec.training.timbre import follow, moments
from facodec.training.voiceprint import DIM
from facodec.training.words_heard import WIDTH

CONTENT = ("content", "content_quantizer")
"""Parts that are trained besides those of stage ``detail``."""
TIMBRE = ("timbre", "voice_head")
"""Parts that are trained too where a second teacher verifies speakers."""


@dataclass(frozen=True)
class ContentLosses(DecoderLosses):
    """With what the teachers hear of conversions (:class:`facodec.training.teachers.Heard`)."""

    words: Tensor | float = 0.0
    likeness: Tensor | float = 0.0
    to_target: Tensor | float = 0.0
    to_source: Tensor | float = 0.0
    voiceprint: Tensor | float = 0.0
    print_to_target: Tensor | float = 0.0
    print_to_source: Tensor | float = 0.0
    content_commit: Tensor | float = 0.0
    agree: Tensor | float = 0.0
    colour: Tensor | float = 0.0
    told: Tensor | float = 0.0
    reading: Tensor | float = 0.0


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
        self.trains_timbre = config.voiceprint_weight > 0
        if self.trains_timbre:
            self.trained = (*self.trained, *TIMBRE)
        super().__init__(model, config, sampler)
        device = model.average_first.device
        self.keepers = {"content": CodebookKeeper(CONTENT_LAYERS, CODEBOOK_SIZE)}
        self.teachers = Teachers(config).to(device)
        self.colour = ColourDistance().to(device)
        self.reader = WordsReader(model.config.content_width, WIDTH).to(device)
        self.networks["reader"] = self.reader
        self._content_latent = fused.fused(fused.content_latent, config.fuse)
        self._timbre_frames = fused.fused(fused.timbre_frames, config.fuse)
        if self.trains_timbre:
            self.teller = nn.Linear(VOICE_DIM, DIM).to(device)
            self.networks["teller"] = self.teller

    def __call__(self, batch: CodedBatch, step: int) -> ContentLosses:
        if not self.words.placed:
            self.words.start(self.chain)
        rows = max(1, int(len(batch.codes) * self.config.convert))
        told = batch.timbre.new_zeros(())
        if self.trains_timbre:
            timbres = self._timbres(batch)
            told = self._told(timbres, batch.voiceprint)
            timbre = timbres[: len(batch.codes)]
            batch = replace(batch, timbre=timbre, other=timbres[batch.target])
        mels = self._mels(batch.heard)
        restart = step % self.config.restart_every == 0
        if restart and self.config.silence_weight:
            self.quiet.hear(self.model, self.random)
        with self._cast(batch):
            said = self._said(mels, rows, restart)
            latent = self._latent(self.model, mels, said.content.words)
        kept = self._layers_kept(len(latent))
        detail, commit = self.words.quantize(self.chain, latent, kept, restart)
        return self._losses_of(batch, said, detail, commit, told)

    def _mels(self, audio: Tensor) -> Tensor:
        with torch.no_grad():
            mels: Tensor = self.model.features(F.pad(audio, (HISTORY, 0)))[0]
        return mels

    def _timbres(self, batch: CodedBatch) -> Tensor:
        """Timbres (C, 256) of the references, as running estimates have them, those of the batch
        with their pitch as it was told; the average voice follows."""
        mels = self._mels(batch.reference)
        speech = is_speech(mels, batch.reference_pitch)
        with self._cast(batch):
            hidden = self._timbre_frames(self.model, mels)
        first, second = moments(self.model, hidden, speech, PRIOR_FRAMES)
        follow(self.model, first, second)
        return self.model.timbre_vector(first, second, batch.reference_octave).float()

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
        self, batch: CodedBatch, said: Said, detail: Tensor, commit: Tensor, told: Tensor
    ) -> ContentLosses:
        c, size = self.config, len(detail)
        codes, envelopes, kept = self._with_conversions(batch, said.content.words, said.own, detail)
        spoken = self._audio(codes, envelopes)
        ours, converted = spoken[:size], spoken[size:]
        meant = batch.audio[:, WARM_UP * HOP : -HOP]
        with self._cast(batch):
            mel = self._distance(ours, meant)
        verdict = self.judges(ours, meant)
        level = level_difference(ours, meant) + level_difference(converted, meant[: len(converted)])
        with self._cast(batch):
            # Without a reader only the words of what is converted count.
            words = self.teachers.words_of(meant if c.reading_weight else meant[: len(converted)])
            voices, prints = self._voices(batch, meant)
            heard = self.teachers(converted, meant, words, voices, prints)
            reading = mel.new_zeros(())
            if c.reading_weight:
                reading = self.reader(said.content.words[:, WARM_UP:-1], words)
        colour = mel.new_zeros(())
        if c.colour_weight:
            colour = self.colour(converted, voices[: len(converted)])
        silence, noise = self._louder(batch)
        total = (
            c.mel_weight * mel
            + c.level_weight * level
            + c.decoder_kept_weight * kept
            + c.commit_weight * (commit + said.content.loss)
            + c.agree_weight * said.agree
            + c.words_weight * heard.words
            + c.likeness_weight * heard.likeness
            + c.voiceprint_weight * heard.voiceprint
            + c.colour_weight * colour
            + c.told_weight * told
            + c.reading_weight * reading
            + c.silence_weight * (silence + noise)
            + verdict.total
        )
        return ContentLosses(
            total=total,
            mel=mel,
            level=level,
            kept=kept,
            pesq=verdict.pesq,
            stoi=verdict.stoi,
            periodicity=verdict.periodicity,
            commit=commit,
            words_used=self.words.in_use(),
            silence=silence,
            noise=noise,
            content_commit=said.content.loss,
            agree=said.agree,
            colour=colour,
            told=told,
            reading=reading,
            **vars(heard),
        )

    @staticmethod
    def _voices(batch: CodedBatch, meant: Tensor) -> tuple[Tensor, Tensor | None]:
        """Sound of the targets (B, M), and what the verifier hears of batch and targets (2, B,
        192)."""
        if not len(batch.reference):
            return meant[batch.target], None
        prints = batch.voiceprint[: len(meant)], batch.voiceprint[batch.target]
        return batch.reference[batch.target], torch.stack(prints)

    def _told(self, timbres: Tensor, voiceprints: Tensor) -> Tensor:
        """Distance of what timbres (C, 256) tell from what the verifier hears (C, 192)."""
        told = self.teller(timbres[:, :VOICE_DIM])
        return 1.0 - F.cosine_similarity(told, voiceprints, dim=-1).mean()
