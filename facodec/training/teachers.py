"""Frozen teachers, who know nothing of the codec, hear conversions: words as in the source, and the
target's voice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.training.config import TrainConfig
from facodec.training.voice_heard import load_speaker_encoder
from facodec.training.voiceprint import load_voiceprint
from facodec.training.words_heard import load_whisper_encoder

SPANS = 2
"""Parts of 0.8 s of each row that the teacher of voices hears."""


@dataclass(frozen=True)
class Heard:
    """Distances, to be made small, and how near the voices are as cosines, both as the speaker
    encoder hears them and as the verifier does."""

    words: Tensor
    likeness: Tensor
    to_target: Tensor
    to_source: Tensor
    voiceprint: Tensor
    print_to_target: Tensor
    print_to_source: Tensor


class Teachers(nn.Module):
    """Hear conversions of the first rows of a batch."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.margin = config.likeness_margin
        self.listener, self.speaker = load_whisper_encoder(), load_speaker_encoder()
        self.verifier = load_voiceprint() if config.voiceprint_weight > 0 else None

    @torch.no_grad()
    def words_of(self, recorded: Tensor) -> Tensor:
        """Audio (B, N) -> what is heard of words in it (B, N // 320, 384)."""
        words: Tensor = self.listener(recorded)
        return words.float()

    def forward(
        self,
        converted: Tensor,
        recorded: Tensor,
        meant: Tensor,
        targets: Tensor,
        prints: Tensor | None,
    ) -> Heard:
        """converted (R, N); of R rows or more: recorded (B, N), its words (B, n, 384), targets
        (B, M), the sound of the voices, and what the verifier heard of both (2, B, 192)."""
        rows, said = len(converted), self.listener(converted).float()
        words = 1.0 - F.cosine_similarity(said, meant[:rows], dim=-1)
        return Heard(
            words.mean(),
            *self._alike(converted, recorded[:rows], targets[:rows]),
            *self._verified(converted, prints),
        )

    def _alike(
        self, converted: Tensor, recorded: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(converted.device.type, enabled=False):
            with torch.no_grad():
                source, target = (self.speaker(audio, SPANS) for audio in (recorded, targets))
            voice = self.speaker(converted, SPANS)
        return self._nearer(voice, target, source)

    def _verified(self, converted: Tensor, prints: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if self.verifier is None or prints is None:
            nothing = converted.new_zeros(())
            return nothing, nothing, nothing
        source, target = prints[:, : len(converted)]
        return self._nearer(self.verifier(converted), target, source)

    def _nearer(
        self, voice: Tensor, target: Tensor, source: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The distance of voices from their targets, to which they are to be nearer than to their
        sources by a margin, and the mean cosines to both."""
        to_target = F.cosine_similarity(voice, target, dim=-1)
        to_source = F.cosine_similarity(voice, source, dim=-1)
        loss = (1.0 - to_target + F.relu(to_source - to_target + self.margin)).mean()
        return loss, to_target.mean().detach(), to_source.mean().detach()
