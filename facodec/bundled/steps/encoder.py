"""The bundled model's encoder, one hop a call: as :mod:`facodec.bundled.network` computes it, but
for rounding, in a third of the operations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from facodec.bundled import prosody
from facodec.bundled.causal import CONTEXT, CausalStack
from facodec.bundled.features import (
    ENERGY_FLOOR,
    HISTORY,
    MAX_LAG,
    MEL_BANDS,
    MEL_FLOOR,
    MEL_WINDOW,
    MIN_LAG,
    PITCH_WINDOW,
)
from facodec.bundled.network import MEL_CENTRE, MEL_SPREAD, EncoderState, LiveNetwork
from facodec.bundled.steps.blocks import FastStack, Kept, constant, matrix
from facodec.bundled.steps.chains import FastChain, word_table
from facodec.bundled.steps.products import Product, Shelf
from facodec.bundled.steps.recorded import HopSteps, Recorded, record
from facodec.bundled.steps.states import FastEncoderState, Talker, later
from facodec.bundled.talker import (
    LONG,
    PRIOR_FRAMES,
    SHORT,
    Memories,
    VoiceStatistics,
    is_speech,
    median_octaves,
    reconcile,
)
from facodec.config import CODEBOOK_SIZE, CONTENT_LAYERS, HOP

PITCH_FFT = 1152
"""Long enough that no lag up to :data:`MAX_LAG` wraps around, and of small factors."""


class FastEncoder:
    """Steps of one model's encoder; takes its weights as they are when it is made."""

    def __init__(self, model: LiveNetwork) -> None:
        self.model = model
        shelf = Shelf(model.average_first.device)
        self.steps: HopSteps = Recorded(self._hop, shelf)
        self.features = FastFeatures(model, shelf)
        self.stacks = {
            name: FastStack.of(getattr(model, name), shelf)
            for name in ("prosody", "content", "detail", "timbre")
        }
        prosody_blocks, *others = (stack.blocks for stack in self.stacks.values())
        self.kept = Kept.of([*prosody_blocks, *(b for blocks in others for b in blocks[1:])])
        self._counts = [len(prosody_blocks), *(len(blocks) - 1 for blocks in others)]
        self.enter_prosody = self._prosody_entry(shelf)
        entries = [_mel_entry(model, name) for name in ("content", "detail", "timbre")]
        self.enter_mels = shelf.product(torch.cat(entries, dim=1))
        first = [blocks[0] for blocks in others]
        self._widths = [len(block.last) for block in first]
        self.filter = torch.cat(
            [torch.cat((block.past_filter, block.last.unsqueeze(0))) for block in first], dim=1
        )
        self.filter_bias = torch.cat([block.bias for block in first])
        detail = slice(self._widths[0], self._widths[0] + self._widths[1])
        self.detail_filter = self.filter[:, detail].contiguous()
        enter = matrix(model.detail.enter)[MEL_BANDS:]
        self.words = word_table(model.content_quantizer, enter)
        self._word_rows = (torch.arange(CONTENT_LAYERS) * (CODEBOOK_SIZE + 1) + 1).to(enter.device)
        self.content = FastChain.of(model.content_quantizer, self.stacks["content"].offset, shelf)
        self.detail = FastChain.of(model.detail_quantizer, self.stacks["detail"].offset, shelf)
        head = matrix(model.pitch_head)
        lacking = self.stacks["prosody"].offset.double() @ head
        self.pitch = shelf.product(head, model.pitch_head.bias.detach().double() + lacking)

        self._limits = constant(torch.tensor([[LONG], [SHORT]])).to(head.device)
        self.reader: Callable[[Talker, Tensor], Tensor] | None = None
        """Reads the timbres of talkers (rows) in place of PyTorch, where there is C."""
        self._look: Callable[..., Tensor] | None = None

    def initial_state(self, batch: int) -> FastEncoderState:
        like = self.model.average_first
        width = like.shape[0]
        return FastEncoderState(
            history=like.new_zeros(batch, HISTORY),
            conditioning=self.model.conditioning.initial_state(batch),
            mels=like.new_zeros(batch, CONTEXT, MEL_BANDS + 1),
            words=like.new_full((batch, CONTEXT, CONTENT_LAYERS), -1, dtype=torch.long),
            past=tuple(like.new_zeros(batch, sum(self.kept.widths)) for _ in range(CONTEXT)),
            talker=Talker(
                pitches=like.new_zeros(batch, 2, prosody.PITCH_CLASSES),
                moments=like.new_zeros(batch, 2, 2 * width),
            ),
        )

    def step(self, audio: Tensor, state: FastEncoderState) -> tuple[Tensor, FastEncoderState]:
        """audio (B, 200) -> codes (B, 6, 1)."""
        return self.steps((audio,), state, state)

    def _hop(self, audio: Tensor, state: FastEncoderState) -> tuple[Tensor, FastEncoderState]:
        conditioned, conditioning = self._condition(audio, state)
        heard = torch.cat((state.history, conditioned), dim=1)
        mels, correlation, level = self.features(heard)
        pasts = iter(self.kept.contributions(state.past))
        stacks, counts = self.stacks, iter(self._counts)

        x = self.enter_prosody(torch.cat((mels, correlation), dim=1))
        past = tuple(islice(pasts, next(counts)))
        first = stacks["prosody"].blocks[0]
        said = [x, *stacks["prosody"].run(x, torch.addcmul(past[0], x, first.last), past[1:])]
        pitch = self.pitch(said[-1]).argmax(1)

        frames = torch.cat((state.mels, _with_one(mels)), dim=1)
        entered = self._entered(frames)
        filtered = (entered * self.filter).sum(1).add_(self.filter_bias).split(self._widths, 1)
        now = entered[:, -1].split(self._widths, dim=1)

        content = stacks["content"].run(now[0], filtered[0], tuple(islice(pasts, next(counts))))
        content_codes = self.content.encode(content[-1])
        words = torch.cat((state.words, torch.stack(content_codes, 1).unsqueeze(1)), dim=1)
        meant = self._meaning(words)
        x, y = now[1] + meant[:, -1], (meant * self.detail_filter).sum(1).add_(filtered[1])
        detail = stacks["detail"].run(x, y, tuple(islice(pasts, next(counts))))
        detail_codes = self.detail.encode(detail[-1])
        timbre = stacks["timbre"].run(now[2], filtered[2], tuple(pasts))

        code = torch.add(level, pitch, alpha=prosody.LEVELS)
        newest = [*said[:-1], *content[:-1], *detail[:-1], *timbre[:-1]]
        after = FastEncoderState(
            history=heard[:, HOP:],
            conditioning=conditioning,
            mels=frames[:, 1:],
            words=words[:, 1:],
            past=(*state.past[1:], self.kept.newest(newest)),
            talker=self._hear(
                timbre[-1] + stacks["timbre"].offset, pitch, is_speech(mels, pitch), state.talker
            ),
        )
        return torch.stack((code, *content_codes, *detail_codes), dim=1).unsqueeze(2), after

    def timbres(self, talkers: Talker, rows: Tensor) -> Tensor:
        """The running estimates (B, 256) of the talkers in ``rows`` (B,)."""
        if self.reader is not None:
            return self.reader(talkers, rows)
        everything = talkers.pitches, talkers.moments, rows
        if self._look is None:
            self._look = record(self._timbres, everything) or self._timbres
        return self._look(*everything)

    def _timbres(self, pitches: Tensor, moments: Tensor, rows: Tensor) -> Tensor:
        return self.timbre(Talker(pitches.index_select(0, rows), moments.index_select(0, rows)))

    def timbre(self, talker: Talker) -> Tensor:
        """The running estimates (B, 256) of all talkers."""
        if self.reader is not None:
            return self.reader(talker, torch.arange(len(talker.pitches)))
        long, short = (self._told(talker.pitches[:, i], talker.moments[:, i]) for i in (0, 1))
        return reconcile(long, short)

    def _told(self, pitches: Tensor, moments: Tensor) -> Tensor:
        """Timbre (B, 256) of one memory."""
        model = self.model
        heard = pitches.sum(1, keepdim=True)
        average = torch.cat((model.average_first, model.average_second))
        share = heard / (heard + PRIOR_FRAMES)
        first, second = torch.lerp(average.expand_as(moments), moments, share).chunk(2, dim=1)
        octaves = median_octaves(pitches.double()).unsqueeze(1)
        return model.timbre_vector(first, second, octaves.float())

    def _condition(self, audio: Tensor, state: FastEncoderState) -> tuple[Tensor, Tensor]:
        conditioning = self.model.conditioning
        fresh = state.mels[:, -1, -1] == 0.0
        before = conditioning.settled(audio, state.conditioning, fresh)
        conditioned, after = conditioning(audio, before)
        return conditioned, after

    def expand(self, state: FastEncoderState) -> EncoderState:
        """The state as :class:`LiveNetwork` takes it."""
        talker = state.talker
        pasts = iter(torch.stack(state.past, dim=1).split(self.kept.widths, dim=2))
        entered = list(
            self.enter_mels.plain(state.mels.flatten(0, 1))
            .view(*state.mels.shape[:2], -1)
            .split(self._widths, dim=2)
        )
        entered[1] = entered[1] + self._meaning(state.words)
        prosody_blocks, *counts = self._counts
        prosody_past = tuple(islice(pasts, prosody_blocks))
        content, detail, timbre = (
            (x, *islice(pasts, n)) for x, n in zip(entered, counts, strict=True)
        )
        memories = (self._sums(talker.pitches[:, i], talker.moments[:, i]) for i in (0, 1))
        return EncoderState(
            history=state.history,
            conditioning=state.conditioning,
            fresh=state.mels[:, -1, -1] == 0.0,
            prosody=prosody_past,
            content=content,
            detail=detail,
            timbre=timbre,
            voice=Memories(*memories),
        )

    @staticmethod
    def _sums(pitches: Tensor, moments: Tensor) -> VoiceStatistics:
        weight = pitches.sum(1).double()
        first, second = (moments.double() * weight.unsqueeze(1)).chunk(2, dim=1)
        return VoiceStatistics(weight, first, second, pitches.double())

    @staticmethod
    def _means(voice: VoiceStatistics) -> Talker:
        moments = torch.cat((voice.first, voice.second), dim=1)
        means = moments / voice.weight.clamp_min(1.0).unsqueeze(1)
        return Talker(voice.pitches.float(), means.float())

    def compress(
        self, after: EncoderState, before: FastEncoderState, audio: Tensor, codes: Tensor
    ) -> FastEncoderState:
        """The state after a step of :class:`LiveNetwork` from ``before`` with audio (B, 200 n),
        which gave codes (B, 6, n)."""
        recent = min(codes.shape[2], CONTEXT)
        conditioned, _ = self._condition(audio, before)
        heard = torch.cat((before.history, conditioned), dim=1)
        mels, _, _ = self.model.features(heard[:, -HISTORY - recent * HOP :])
        words = codes[:, 1 : 1 + CONTENT_LAYERS, -recent:].transpose(1, 2)
        pasts = [*after.prosody, *after.content[1:], *after.detail[1:], *after.timbre[1:]]
        long, short = self._means(after.voice.long), self._means(after.voice.short)
        talker = Talker(
            torch.stack((long.pitches, short.pitches), dim=1),
            torch.stack((long.moments, short.moments), dim=1),
        )
        return FastEncoderState(
            history=after.history,
            conditioning=after.conditioning,
            mels=later(before.mels, torch.nn.functional.pad(mels, (0, 1), value=1.0)),
            words=later(before.words, words),
            past=torch.cat(pasts, dim=2).unbind(1),
            talker=talker,
        )

    def _prosody_entry(self, shelf: Shelf) -> Product:
        """From log-mels and correlation as :class:`FastFeatures` gives them."""
        enter = self.model.prosody.enter
        weight, bias = _unscaled(matrix(enter), enter.bias.detach().double())
        window = self.model.features.window_correlation[MIN_LAG:].double().unsqueeze(1)
        return shelf.product(torch.cat((weight[:MEL_BANDS], weight[MEL_BANDS:] / window)), bias)

    def _entered(self, mels: Tensor) -> Tensor:
        """Input of three stacks from log-mels and ones (B, n, 81), without the words."""
        rows = mels.reshape(-1, mels.shape[2])
        return self.enter_mels(rows).view(mels.shape[0], mels.shape[1], -1)

    def _meaning(self, words: Tensor) -> Tensor:
        """Share of content codes (B, n, 2) in the detail branch's input, (B, n, width)."""
        rows = (words + self._word_rows).view(-1, CONTENT_LAYERS)
        meaning = torch.nn.functional.embedding_bag(rows, self.words, mode="sum")
        return meaning.view(words.shape[0], words.shape[1], -1)

    def _hear(self, hidden: Tensor, pitch: Tensor, speech: Tensor, talker: Talker) -> Talker:
        """Count a frame into both memories, if it is speech."""
        voiced = speech.float().view(-1, 1, 1)
        before = talker.pitches.sum(2, keepdim=True)
        count = torch.minimum(before + voiced, self._limits)
        kept = torch.where(voiced > 0, (count - 1.0) / before.clamp_min(1.0), 1.0)
        index = pitch.view(-1, 1, 1).expand(-1, 2, 1)
        pitches = (talker.pitches * kept).scatter_add(2, index, voiced.expand(-1, 2, 1))
        frame = torch.cat((hidden, hidden * hidden), dim=1).unsqueeze(1)
        share = voiced / count.clamp_min(1.0)
        moments = torch.lerp(talker.moments, frame.expand_as(talker.moments), share)
        return Talker(pitches, moments)


class FastFeatures:
    """:class:`facodec.bundled.features.CausalFeatures` of one frame, constants left to what
    follows."""

    def __init__(self, model: LiveNetwork, shelf: Shelf) -> None:
        self.own = model.features
        self.bands = shelf.product(model.features.mel_basis)
        edges = (
            prosody.LEVEL_BOTTOM + prosody.LEVEL_STEP * torch.arange(prosody.LEVELS - 1).double()
        )
        energy = (10.0 ** (edges / 10.0) - 1e-10) * MEL_WINDOW
        self.levels = constant(energy).to(model.average_first.device)

    def __call__(self, heard: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """heard (B, 800) -> log10-mels (B, 80), the autocorrelation but for that of the window
        (B, 256), level class (B,)."""
        own = self.own
        recent = heard[:, PITCH_WINDOW - MEL_WINDOW :] * own.mel_window
        mels = self.bands(torch.fft.rfft(recent).abs()).clamp_min_(MEL_FLOOR).log10_()
        level = torch.bucketize((recent * recent).sum(1), self.levels)
        spectrum = torch.fft.rfft(heard * own.pitch_window, PITCH_FFT)
        correlation = torch.fft.irfft(spectrum * spectrum.conj(), PITCH_FFT)
        energy = correlation[:, :1] + ENERGY_FLOOR * PITCH_WINDOW
        return mels, correlation[:, MIN_LAG : MAX_LAG + 1] / energy, level


def _with_one(mels: Tensor) -> Tensor:
    """(B, 80) -> (B, 1, 81): the one meets the bias in the matrix."""
    return torch.nn.functional.pad(mels, (0, 1), value=1.0).unsqueeze(1)


def _unscaled(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (in, out) and bias for log-mels as they come, in place of scaled ones; the mels are
    the first inputs."""
    mels = weight[:MEL_BANDS] / MEL_SPREAD
    return torch.cat((mels, weight[MEL_BANDS:])), bias - MEL_CENTRE * mels.sum(0)


def _mel_entry(model: LiveNetwork, name: str) -> Tensor:
    """Matrix (81, width) from log-mels and a one to what enters a stack."""
    stack: CausalStack = getattr(model, name)
    weight = matrix(stack.enter)[:MEL_BANDS]
    if name == "content":
        weight = model.lifter.double() @ weight
    unscaled, bias = _unscaled(weight, stack.enter.bias.detach().double())
    return torch.cat((unscaled, bias.unsqueeze(0)))
