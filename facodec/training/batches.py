"""Random crops of a packed corpus, each with a reference of the same speaker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from facodec.bundled.features import HISTORY
from facodec.config import HOP
from facodec.training.config import TrainConfig
from facodec.training.corpus import Corpus
from facodec.training.phones import UNKNOWN, Phones


@dataclass(frozen=True)
class Batch:
    """audio (B, HISTORY + 200 T); pitch (B, T) Hz; reference (B, HISTORY + 200 R), its pitch
    (B, R) Hz, zero beyond each reference's own length; speaker (B,) numbers; phone (B, T), -1
    where unknown."""

    audio: Tensor
    pitch: Tensor
    reference: Tensor
    reference_pitch: Tensor
    speaker: Tensor
    phone: Tensor


class Sampler:
    """Draws batches from a seeded generator, whose state is part of a checkpoint."""

    def __init__(self, corpus: Corpus, config: TrainConfig) -> None:
        self.corpus, self.config = corpus, config
        self.random: Generator = np.random.Generator(np.random.PCG64(config.seed))
        usable = np.flatnonzero(corpus.lengths >= config.frames // 2)
        if not len(usable):
            raise ValueError(f"no utterance has {config.frames // 2} frames of 12.5 ms")
        self._usable = usable
        seconds = corpus.lengths[usable].astype(float)
        self._chances = seconds / seconds.sum()
        self._of_speaker: dict[int, list[int]] = {}
        for i in usable:
            self._of_speaker.setdefault(int(corpus.speakers[i]), []).append(int(i))

    def draw(self) -> Batch:
        c = self.config
        chosen = self.random.choice(self._usable, size=c.batch, p=self._chances)
        rows = [self._crop(int(i), c.frames) for i in chosen]
        references = [self._reference(int(i)) for i in chosen]
        gains = 10 ** (self.random.uniform(-c.gain_db, c.gain_db, (c.batch, 1)) / 20)
        audio = torch.from_numpy((np.stack([r[0] for r in rows]) * gains).astype(np.float32))
        return Batch(
            audio=audio.clamp(-1.0, 1.0),
            pitch=torch.from_numpy(np.stack([r[1] for r in rows])),
            reference=torch.from_numpy(np.stack([r[0] for r in references])),
            reference_pitch=torch.from_numpy(np.stack([r[1] for r in references])),
            speaker=torch.from_numpy(self.corpus.speakers[chosen]),
            phone=torch.from_numpy(np.stack([r[2] for r in rows])).long(),
        )

    def _reference(self, utterance: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A crop of another utterance of the speaker, where there is one, of random length."""
        c = self.config
        others = self._of_speaker[int(self.corpus.speakers[utterance])]
        other = int(self.random.choice([i for i in others if i != utterance] or others))
        audio, pitch, _ = self._crop(other, c.reference_frames)
        kept = int(self.random.integers(c.reference_frames // 4, c.reference_frames + 1))
        audio[HISTORY + kept * HOP :] = 0.0
        pitch[kept:] = 0.0
        return audio, pitch

    def _crop(
        self, utterance: int, frames: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], Phones]:
        """``frames`` frames of sound, pitch and phones from a random place, with the sound that
        came before; silence past the ends."""
        corpus = self.corpus
        length, start = int(corpus.lengths[utterance]), int(corpus.starts[utterance])
        first = int(self.random.integers(0, max(1, length - frames + 1)))
        last = min(first + frames, length)
        audio = np.zeros(HISTORY + frames * HOP, dtype=np.float32)
        pitch = np.zeros(frames, dtype=np.float32)
        phones = np.full(frames, UNKNOWN, dtype=np.int8)
        before = min(HISTORY, first * HOP)
        piece = corpus.samples[(start + first) * HOP - before : (start + last) * HOP]
        audio[HISTORY - before : HISTORY - before + len(piece)] = piece / 32768.0
        pitch[: last - first] = corpus.pitch[start + first : start + last]
        phones[: last - first] = corpus.phones[start + first : start + last]
        return audio, pitch, phones
