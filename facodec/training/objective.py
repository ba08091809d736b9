"""One pass of the live model over a batch, and everything it is asked to get right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled import prosody
from facodec.bundled.features import HISTORY
from facodec.bundled.model import VOICE_DIM, LiveModel, Pasts, scale_mels
from facodec.bundled.talker import PITCH_REFERENCE
from facodec.config import CODEBOOK_SIZE, CONTENT_LAYERS, DETAIL_LAYERS, HOP
from facodec.training.batches import Batch
from facodec.training.config import TrainConfig
from facodec.training.losses import MelDistance, level_difference, pitch_targets
from facodec.training.perturb import perturb
from facodec.training.quantize import Chain, CodebookKeeper, Quantized, disagreement, quantize
from facodec.training.reader import PhoneListener, PhoneReader
from facodec.training.speakers import SpeakerAdversary, SpeakerJudge, VoiceCritic, frozen
from facodec.training.timbre import follow, moments


@dataclass(frozen=True)
class Losses:
    """Scalars of one batch; ``total`` is what is minimised."""

    total: Tensor
    mel: Tensor
    pitch: Tensor
    commit: Tensor
    level: Tensor
    agree: Tensor
    speaker: Tensor
    converted: Tensor
    kept: Tensor
    phone: Tensor
    said: Tensor
    listener: Tensor
    understood: Tensor
    fooled: Tensor
    critic: Tensor
    adversary: Tensor
    pitch_accuracy: Tensor
    words_used: Tensor

    def numbers(self) -> dict[str, float]:
        return {name: float(value.detach()) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Heard:
    """Encoder's view of a batch: log-mels (B, T, 80), the teacher's pitch classes and the levels in
    dB (B, T), content of the voice itself (B, T, width), timbre (B, 256)."""

    mels: Tensor
    classes: Tensor
    level: Tensor
    content: Tensor
    timbre: Tensor


@dataclass(frozen=True)
class OtherVoices:
    """A batch in other voices: log-mels (B, T, 80), the first rows said in the voices of other
    rows, without gradient; and for those rows, as scalars, how far they are from being told as that
    voice, from content as before, from phones as before in the codes and in the sound, from being
    as loud as before, from fooling the critic, and the critic's own loss."""

    mels: Tensor
    told: Tensor
    kept: Tensor
    said: Tensor
    understood: Tensor
    level: Tensor
    fooled: Tensor
    critic: Tensor


class Objective:
    """Runs the model as it will run live, but all frames at once and with the teacher's pitch."""

    def __init__(self, model: LiveModel, config: TrainConfig, speakers: int) -> None:
        self.model, self.config = model, config
        device, width = model.average_first.device, model.config.content_width
        self.distance = MelDistance().to(device)
        self.judge = SpeakerJudge(VOICE_DIM, speakers)
        self.adversary = SpeakerAdversary(width, speakers)
        self.reader = PhoneReader(width)
        self.listener = PhoneListener()
        self.critic = VoiceCritic()
        self.networks = nn.ModuleDict(
            {
                "judge": self.judge,
                "adversary": self.adversary,
                "reader": self.reader,
                "critic": self.critic,
                "listener": self.listener,
            }
        )
        self.networks.to(device)
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
        audio, reference = self._conditioned(batch.audio), self._conditioned(batch.reference)
        batch = replace(batch, audio=audio, reference=reference)
        mels, correlation, level = self._features(batch.audio)
        size = len(mels)
        classes = prosody.pitch_class(batch.pitch)
        logits, _ = model.pitch_logits(mels, correlation, self._past("prosody", size))
        clean, _ = model.content_latent(mels, self._past("content", size))
        heard = Heard(mels, classes, level, clean, self._timbre(batch))
        others = self._in_other_voices(heard, batch, step)
        content, detail, agree = self._codes(heard, others.mels, step)
        spoken, excitation = self._pitch_to_speak(batch.pitch, classes, logits, step)
        audio = self._speak(heard, spoken, excitation, content.words, detail.words, heard.timbre)
        audio, wanted = _inside(audio, batch.audio)
        mel, louder = self.distance(audio, wanted), level_difference(audio, wanted)
        targets = pitch_targets(classes, prosody.PITCH_CLASSES)
        pitch = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(0, 1))
        commit = content.loss + detail.loss
        phone = self.reader(content.words, batch.phone)
        listener = self.listener(perturb(mels, c.perturb, self.random), batch.phone)
        speaker = self.judge(heard.timbre[:, :VOICE_DIM], batch.speaker)
        reversal = self._slowly(c.adversary_weight, c.adversary_rise, step)
        adversary = self.adversary(clean, batch.speaker, reversal)
        total = (
            c.mel_weight * mel
            + c.pitch_weight * pitch
            + c.commit_weight * commit
            + c.level_weight * (louder + others.level)
            + c.agree_weight * agree
            + c.kept_weight * others.kept
            + c.phone_weight * phone
            + c.said_weight * others.said
            + self._slowly(c.understood_weight, c.critic_rise, step) * others.understood
            + c.speaker_weight * (speaker + others.told)
            + self._slowly(c.critic_weight, c.critic_rise, step) * others.fooled
            + others.critic
            + adversary
            + listener
        )
        near = (logits.argmax(-1) - classes).abs() <= 3
        same = (logits.argmax(-1) > 0) == (classes > 0)
        return Losses(
            total=total,
            mel=mel,
            pitch=pitch,
            commit=commit,
            level=louder,
            agree=agree,
            speaker=speaker,
            converted=others.told,
            kept=others.kept,
            phone=phone,
            said=others.said,
            listener=listener,
            understood=others.understood,
            fooled=others.fooled,
            critic=others.critic,
            adversary=adversary,
            pitch_accuracy=(near & same).float().mean(),
            words_used=torch.tensor(float(len(content.codes[..., 0].unique()))),
        )

    def _features(self, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(audio.device.type, enabled=False):
            features: tuple[Tensor, Tensor, Tensor] = self.model.features(audio)
        return features

    def _conditioned(self, audio: Tensor) -> Tensor:
        """Audio (B, 200 n) as the encoder hears it from its first sample on: what is to be said
        again, too, as nothing tells the decoder of offset and hum."""
        conditioning, size = self.model.conditioning, len(audio)
        fresh = torch.ones(size, dtype=torch.bool, device=audio.device)
        with torch.autocast(audio.device.type, enabled=False):
            state = conditioning.settled(audio, conditioning.initial_state(size), fresh)
            conditioned: Tensor = conditioning(audio, state)[0]
        return conditioned

    def _past(self, stack: str, batch: int) -> Pasts:
        past: Pasts = getattr(self.model, stack).initial_state(batch, self.model.average_first)
        return past

    @staticmethod
    def _slowly(weight: float, rise: int, step: int) -> float:
        return weight * min(1.0, step / max(1, rise))

    # ------------------------------------------------------------------ other voices

    def _in_other_voices(self, heard: Heard, batch: Batch, step: int) -> OtherVoices:
        """The first rows of a batch as the model itself says them in the voices of other rows.

        Training to say the original from such a conversion is SelfVC's idea (Neekhara et al.
        2023): voices differ then in every way the decoder can make them differ.
        """
        model, rows = self.model, self._converted(len(heard.mels), step)
        if rows == 0:
            nothing = heard.mels.new_zeros(())
            return OtherVoices(heard.mels, *[nothing] * 7)
        some = Heard(*(value[:rows] for value in vars(heard).values()))
        target, speaker = heard.timbre.roll(1, 0)[:rows].detach(), batch.speaker.roll(1)[:rows]
        audio = self._convert(some, target)
        said_again = self._conditioned(F.pad(audio[:, HOP:], (HISTORY, 0)))
        mels, _, _ = self._features(said_again)
        with frozen(model.timbre, model.voice_head, self.judge, model.content):
            voice = self._voice_of(mels, some.classes > 0)
            told = self.judge(F.normalize(voice, dim=-1), speaker)
            content, _ = model.content_latent(mels, self._past("content", rows))
        with frozen(model.content_quantizer, self.reader):
            kept = disagreement(model.content_quantizer, content, some.content)
            everything = torch.full((rows,), CONTENT_LAYERS, device=mels.device)
            words = quantize(model.content_quantizer, content, everything, True)[0].words
            said = self.reader(words, batch.phone[:rows])
        with frozen(self.critic, self.listener):
            understood = self.listener(mels, batch.phone[:rows])
            fooled = -self.critic(mels, target).mean()
        made = mels.detach()
        critic = self._tell_apart(heard.mels, heard.timbre.detach(), made, target)
        everyone = torch.cat((made, heard.mels[rows:]))
        level = level_difference(*_inside(audio, batch.audio[:rows]))
        return OtherVoices(everyone, told, kept, said, understood, level, fooled, critic)

    def _converted(self, size: int, step: int) -> int:
        """Number of rows of a batch, from the first, that are said in another voice."""
        return int(size * self.config.convert) if step >= self.config.convert_from else 0

    def _convert(self, heard: Heard, target: Tensor) -> Tensor:
        """Says what was heard with the timbre ``target`` (B, 256): audio as :meth:`_speak` gives
        it."""
        model, rows = self.model, len(target)
        drift = torch.randn(rows, generator=self.random).to(target)
        octaves = (target - heard.timbre.detach())[:, -1]
        octaves = octaves + drift * self.config.convert_semitones / 12.0
        codes = prosody.shift(prosody.join(heard.classes, 0 * heard.classes), octaves.unsqueeze(1))
        spoken, _ = prosody.split(codes)
        with torch.no_grad():
            words = model.content_quantizer.encode(heard.content.float())[1]
        excitation = prosody.pitch_hertz(spoken).float()
        return self._speak(heard, spoken, excitation, words, 0.0 * words, target)

    def _tell_apart(self, real: Tensor, own: Tensor, made: Tensor, wanted: Tensor) -> Tensor:
        """The critic's hinge loss over recordings (B, T, 80) with their own timbres and
        conversions (R, T, 80) with those they were made for."""
        scores = self.critic(torch.cat((real, made)), torch.cat((own, wanted)))
        return F.relu(1.0 - scores[: len(real)]).mean() + F.relu(1.0 + scores[len(real) :]).mean()

    # ------------------------------------------------------------------ encoder

    def _codes(self, heard: Heard, mels: Tensor, step: int) -> tuple[Quantized, Quantized, Tensor]:
        """Content as heard from ``mels`` perturbed, detail as heard from the voice itself, and
        how far that content is from what the voice itself would have given."""
        model, c = self.model, self.config
        size = len(mels)
        perturbed = perturb(mels, c.perturb, self.random)
        latent, _ = model.content_latent(perturbed, self._past("content", size))
        everything = torch.full((size,), CONTENT_LAYERS)
        content = self._quantize("content", latent, everything, step)
        agree = disagreement(model.content_quantizer, latent, heard.content)
        detail_latent, _ = model.detail_latent(
            heard.mels, content.words, self._past("detail", size)
        )
        detail = self._quantize("detail", detail_latent, self._kept(size, step), step)
        return content, detail, agree

    def _kept(self, size: int, step: int) -> Tensor:
        """Number of detail codes that each row hears (B,)."""
        c = self.config
        draw = torch.rand(size, generator=self.random)
        none = torch.full((size,), c.no_detail)
        none[: self._converted(size, step)] = c.no_detail_converted
        fewer = torch.randint(1, DETAIL_LAYERS, (size,), generator=self.random)
        kept = torch.where(draw < none + c.truncate, fewer, torch.tensor(DETAIL_LAYERS))
        return torch.where(draw < none, torch.tensor(0), kept)

    def _quantize(self, name: str, latent: Tensor, kept: Tensor, step: int) -> Quantized:
        chain: Chain = getattr(self.model, f"{name}_quantizer")
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
        mels, _, _ = self._features(batch.reference)
        voiced = batch.reference_pitch > 0
        first, second = self._moments(mels, voiced)
        logs = torch.log2(batch.reference_pitch.clamp_min(1.0) / PITCH_REFERENCE)
        octaves = (logs * voiced).sum(1, keepdim=True) / (voiced.sum(1, keepdim=True) + 1.0)
        model = self.model
        follow(model, first, second)
        return model.timbre_vector(first, second, octaves).float()

    def _voice_of(self, mels: Tensor, voiced: Tensor) -> Tensor:
        """Learned part of the timbre (B, 255) of log-mels (B, T, 80) where voiced (B, T)."""
        first, second = self._moments(mels, voiced)
        return self.model.timbre_vector(first, second, first[:, :1])[:, :VOICE_DIM]

    def _moments(self, mels: Tensor, voiced: Tensor) -> tuple[Tensor, Tensor]:
        """Moments (B, width) of the timbre branch over voiced frames and one average frame."""
        model = self.model
        hidden, _ = model.timbre(scale_mels(mels), self._past("timbre", len(mels)))
        return moments(model, hidden, voiced, 1.0)

    # ------------------------------------------------------------------ decoder

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

    def _speak(
        self,
        heard: Heard,
        spoken: Tensor,
        excitation: Tensor,
        content: Tensor,
        detail: Tensor,
        timbre: Tensor,
    ) -> Tensor:
        """Audio (B, 200 (T + 1)), from the hop before the first frame to the end of the last, of
        content and detail words (B, T, width) at pitch classes (B, T), excited at Hz (B, T)."""
        size = len(spoken)
        codes = prosody.join(spoken, prosody.level_class(heard.level))
        envelopes, _ = self.model.envelopes(
            codes, content, detail, timbre.unsqueeze(1), self._past("decoder", size)
        )
        jitter = 1.0 + self.config.pitch_jitter * torch.randn(
            excitation.shape, generator=self.random
        ).to(excitation)
        synthesizer = self.model.synthesizer
        seed = int(torch.randint(1 << 30, (), generator=self.random))
        with torch.autocast(excitation.device.type, enabled=False):
            audio, state = synthesizer(
                excitation * jitter,
                *(envelope.float() for envelope in envelopes),
                synthesizer.initial_state(size, seed),
            )
        return torch.cat((audio, state.tail[:, :HOP]), dim=1)


def _inside(spoken: Tensor, recorded: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts audio as :meth:`Objective._speak` gives it, and the batch's recording, to the part that
    all of the frames are heard in (B, 200 (T - 1))."""
    return spoken[:, HOP:-HOP], recorded[:, HISTORY:-HOP].float()
