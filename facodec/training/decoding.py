"""Training of the decoder alone, on codes that a frozen encoder gave: old streams stay decodable.

A row is spoken from its own codes and compared with the recording, some rows without all of their
detail, as they sound at low rates, some from codes that were heard in noise. What conversions sound
like is kept: for codes without detail, in another's voice and at the voice's pitch, the envelopes
have to stay those of the decoder that was started from (learning without forgetting, Li & Hoiem
2016).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from facodec.bundled import prosody
from facodec.bundled.model import VOICE_DIM, LiveModel
from facodec.config import ABSENT, CONTENT_LAYERS, DETAIL_LAYERS, HOP, MIN_LAYERS
from facodec.training.coded import AT, CodedCorpus
from facodec.training.config import TrainConfig
from facodec.training.judges import Judges
from facodec.training.losses import MelDistance, level_difference
from facodec.training.quantize import CodebookKeeper
from facodec.training.quiet import Quiet

VOICES = 3
"""Rows of each batch in whose voices silence and noise are spoken."""
WARM_UP = 30
"""Frames at the start of a crop that only fill the decoder's past."""

NOTHING = torch.zeros(0)


@dataclass(frozen=True)
class CodedBatch:
    """audio (B, 200 T); heard (B, 200 T), which the codes are of: the same, or in noise; codes
    (B, 6, T); timbre (B, 256) of another utterance of the speaker where there is one; other
    (B, 256) of another speaker. With voiceprints also reference (C, 200 R), what that other
    utterance sounds like, its pitch classes (C, R) and typical pitch in octaves (C, 1), and
    voiceprint (C, 192), whose voice it is: C is B and ``config.told_rows``, of other speakers.
    target (B,): rows, of the batch or the references, whose voice ``other`` is."""

    audio: Tensor
    heard: Tensor
    codes: Tensor
    timbre: Tensor
    other: Tensor
    target: Tensor
    reference: Tensor = NOTHING
    reference_pitch: Tensor = NOTHING
    reference_octave: Tensor = NOTHING
    voiceprint: Tensor = NOTHING


@dataclass(frozen=True)
class DecoderLosses:
    """Scalars of one batch; ``total`` is what is minimised."""

    total: Tensor
    mel: Tensor
    level: Tensor
    kept: Tensor
    pesq: Tensor | float = 0.0
    stoi: Tensor | float = 0.0
    periodicity: Tensor | float = 0.0
    commit: Tensor | float = 0.0
    words_used: Tensor | float = 1.0
    silence: Tensor | float = 0.0
    noise: Tensor | float = 0.0

    def numbers(self) -> dict[str, float]:
        return {name: float(torch.as_tensor(value).detach()) for name, value in vars(self).items()}


class CodedSampler:
    """Draws crops of a coded corpus from a seeded generator, whose state is part of a checkpoint.

    ``config.speaker_weights``: patterns of speakers' names and how likely a second of theirs is
    drawn; the first that matches counts, 1 where none does, 0 leaves a speaker out.
    """

    def __init__(self, corpus: CodedCorpus, config: TrainConfig) -> None:
        self.corpus, self.config = corpus, config
        self.random = np.random.Generator(np.random.PCG64(config.seed))
        weights = np.array([_weight(name, config.speaker_weights) for name in corpus.names])
        chances = corpus.lengths * weights[corpus.speakers]
        chances[corpus.lengths < config.frames // 2] = 0.0
        for part, share in ((corpus.noisy, config.noisy), (~corpus.noisy, 1.0 - config.noisy)):
            chances[part] *= share / max(1e-9, chances[part].sum())
        if not chances.sum() > 0:
            raise ValueError(f"no utterance has {config.frames // 2} frames and a weight above 0")
        self._chances = chances / chances.sum()
        self._of_speaker: dict[int, list[int]] = {}
        for i, speaker in enumerate(corpus.speakers):
            self._of_speaker.setdefault(int(speaker), []).append(i)
        self._whole = self._with_references(weights) if config.told_rows else []

    def draw(self) -> CodedBatch:
        c, corpus = self.config, self.corpus
        chosen = self.random.choice(len(self._chances), size=c.batch, p=self._chances)
        audio, heard, codes = self._crops(chosen, c.frames)
        told = [self._sibling(int(i)) for i in chosen]
        target, references = np.roll(np.arange(c.batch), 1), {}
        if len(corpus.voiceprints):
            told += self._of_anybody(c.told_rows)
            if c.told_rows >= c.batch:
                target = c.batch + np.arange(c.batch)
            references = self._references(told)
        timbres = corpus.timbres[told]
        return CodedBatch(
            audio=audio,
            heard=heard,
            codes=codes,
            timbre=torch.from_numpy(timbres[: c.batch]),
            other=torch.from_numpy(timbres[target]),
            target=torch.from_numpy(target),
            **references,
        )

    def _references(self, told: list[int]) -> dict[str, Tensor]:
        """Fields of a batch that utterances (C,) are the references of."""
        _, reference, said = self._crops(told, self.config.reference_frames)
        return {
            "reference": reference,
            "reference_pitch": prosody.split(said[:, 0])[0],
            "reference_octave": torch.from_numpy(self.corpus.timbres[told][:, VOICE_DIM:]),
            "voiceprint": torch.from_numpy(self.corpus.voiceprints[told]),
        }

    def _crops(self, chosen: Iterable[int], frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Somewhere in each utterance, what is said and what is heard (B, 200 T) and the codes
        (B, 6, T)."""
        corpus, rows = self.corpus, list(chosen)
        audio, heard = np.zeros((2, len(rows), frames * HOP), np.float32)
        codes = np.zeros((len(rows), corpus.codes.shape[1], frames), np.int64)
        for row, i in enumerate(rows):
            length, start = int(corpus.lengths[i]), int(corpus.starts[i])
            first = start + int(self.random.integers(0, max(1, length - frames + 1)))
            count = min(frames, start + length - first)
            for array, of in ((audio, corpus.said), (heard, corpus.heard)):
                array[row, : count * HOP] = of(first, count)
            codes[row, :, :count] = corpus.codes[first : first + count].T
        said, other = (torch.from_numpy(a) / 32767.0 for a in (audio, heard))
        return said, other, torch.from_numpy(codes)

    def _with_references(self, weights: NDArray[np.float64]) -> list[list[int]]:
        """Utterances that fill a reference, of each speaker who has any."""
        config, lengths = self.config, self.corpus.lengths
        whole = [
            [i for i in utterances if lengths[i] >= config.reference_frames]
            for speaker, utterances in self._of_speaker.items()
            if weights[speaker] > 0
        ]
        if not any(whole):
            raise ValueError(f"no utterance fills the {config.reference_frames} reference_frames")
        return [utterances for utterances in whole if utterances]

    def _of_anybody(self, count: int) -> list[int]:
        """Utterances of speakers who are all as likely."""
        speakers = self.random.integers(len(self._whole), size=count) if count else ()
        return [int(self.random.choice(self._whole[int(one)])) for one in speakers]

    def _sibling(self, utterance: int) -> int:
        """Another utterance of the speaker, or for a half of all the same: in a live stream the
        timbre comes from what is being said."""
        siblings = self._of_speaker[int(self.corpus.speakers[utterance])]
        if len(siblings) == 1 or self.random.random() < 0.5:
            return utterance
        return int(self.random.choice([i for i in siblings if i != utterance]))


class DecoderObjective:
    """Runs the decoder as it will run live, but all frames at once."""

    trained: tuple[str, ...] = LiveModel.decoding_parts

    def __init__(self, model: LiveModel, config: TrainConfig) -> None:
        self.model, self.config = model, config
        self.before = deepcopy(model).requires_grad_(False)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.split(".")[0] in self.trained)
        self.distance = MelDistance().to(model.average_first.device)
        self.judges = Judges(config).to(model.average_first.device)
        self.networks = nn.ModuleDict({"before": self.before})
        self.keepers: dict[str, CodebookKeeper] = {}
        self.random = torch.Generator().manual_seed(config.seed)
        if config.silence_weight:
            self.quiet = Quiet(model, self.random)
            self.networks["quiet"] = self.quiet

    def __call__(self, batch: CodedBatch, step: int) -> DecoderLosses:
        device = self.model.average_first.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.bf16):
            return self._losses(batch)

    def _losses(self, batch: CodedBatch) -> DecoderLosses:
        c = self.config
        spoken = self._speak(self._with_less_detail(batch.codes), batch.timbre)
        # The decoder speaks a hop late, and the last hop is not complete yet.
        ours, theirs = spoken[:, HOP:], batch.audio[:, :-HOP]
        ours, theirs = ours[:, WARM_UP * HOP :], theirs[:, WARM_UP * HOP :]
        mel, level = self.distance(ours, theirs), level_difference(ours, theirs)
        kept = self._kept(batch)
        silence, noise = self._louder(batch)
        total = c.mel_weight * mel + c.level_weight * level + c.decoder_kept_weight * kept
        total = total + c.silence_weight * (silence + noise)
        verdict = self.judges(ours, theirs)
        total = total + verdict.total
        return DecoderLosses(
            total, mel, level, kept, verdict.pesq, verdict.stoi, verdict.periodicity,
            silence=silence, noise=noise,
        )  # fmt: skip

    def _speak(self, codes: Tensor, timbre: Tensor) -> Tensor:
        """codes (B, 6, T) -> audio (B, 200 T), the first hop being the one before the codes."""
        synthesizer = self.model.synthesizer
        pitch = prosody.pitch_hertz(prosody.split(codes[:, 0])[0]).float()
        jitter = torch.randn(pitch.shape, generator=self.random).to(pitch)
        envelopes = self._envelopes(self.model, codes, timbre)
        seed = int(torch.randint(1 << 30, (), generator=self.random))
        with torch.autocast(pitch.device.type, enabled=False):
            audio: Tensor = synthesizer(
                pitch * (1.0 + self.config.pitch_jitter * jitter),
                *(envelope.float() for envelope in envelopes),
                synthesizer.initial_state(len(codes), seed),
            )[0]
        return audio

    @staticmethod
    def _envelopes(model: LiveModel, codes: Tensor, timbre: Tensor) -> tuple[Tensor, ...]:
        parts = codes.transpose(1, 2).split((1, CONTENT_LAYERS, DETAIL_LAYERS), dim=-1)
        past = model.decoder.initial_state(len(codes), model.average_first)
        with torch.no_grad():  # the words are frozen
            content = model.content_quantizer.decode(parts[1])
            detail = model.detail_quantizer.decode(parts[2])
        return model.envelopes(parts[0][..., 0], content, detail, timbre.unsqueeze(1), past)[0]

    def _louder(self, batch: CodedBatch) -> tuple[Tensor, Tensor]:
        """Mean bels by which silence and noise are louder than they may be, in other voices of a
        batch too."""
        if not self.config.silence_weight:
            nothing = batch.other.new_zeros(())
            return nothing, nothing
        louder: tuple[Tensor, Tensor] = self.quiet(self.model, self._speak, batch.other[:VOICES])
        return louder

    def _with_less_detail(self, codes: Tensor) -> Tensor:
        """Codes as they are heard: some rows without detail, some with a part of it."""
        c, size = self.config, len(codes)
        draw = torch.rand(size, generator=self.random)
        kept = torch.randint(1, DETAIL_LAYERS, (size,), generator=self.random)
        kept = torch.where(draw < c.no_detail + c.truncate, kept, torch.tensor(DETAIL_LAYERS))
        kept = torch.where(draw < c.no_detail, torch.tensor(0), kept).to(codes.device)
        layers = torch.arange(codes.shape[1], device=codes.device)
        absent = layers.unsqueeze(0) >= MIN_LAYERS + kept.unsqueeze(1)
        return codes.masked_fill(absent.unsqueeze(-1), ABSENT)

    def _kept(self, batch: CodedBatch) -> Tensor:
        """Mean distance, as natural logarithms, of the envelopes of conversions from those that
        the first decoder gave."""
        rows = max(1, int(len(batch.codes) * self.config.convert))
        source, target = batch.timbre[:rows], batch.other[:rows]
        codes = self.before.convert_codes(batch.codes[:rows], source, target)
        timbre = self.before.convert_timbre(source, target)
        with torch.no_grad():
            wanted = self._envelopes(self.before, codes, timbre)
        ours = self._envelopes(self.model, codes, timbre)
        pairs = zip(ours[:2], wanted[:2], strict=True)
        return sum((F.l1_loss(a.float(), b.float()) for a, b in pairs), ours[0].new_zeros(()))


def trained(model: LiveModel) -> Iterator[nn.Parameter]:
    """Parameters of the model that the stage trains."""
    return (parameter for parameter in model.parameters() if parameter.requires_grad)


def _weight(name: str, weights: dict[str, float]) -> float:
    names = name, name.split(AT)[0]
    return next(
        (w for pattern, w in weights.items() if any(fnmatch(n, pattern) for n in names)), 1.0
    )
