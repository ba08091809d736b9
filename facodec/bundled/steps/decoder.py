"""The bundled model's decoder, one hop a call: as :mod:`facodec.bundled.network` computes it, but
for rounding, in a third of the operations."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled import prosody
from facodec.bundled.causal import CONTEXT
from facodec.bundled.network import (
    GAIN_CENTRE,
    GAIN_RANGE,
    GLIDE,
    VOICE_DIM,
    DecoderState,
    LiveNetwork,
)
from facodec.bundled.steps.blocks import Condition, FastStack, Kept, matrix
from facodec.bundled.steps.chains import word_table
from facodec.bundled.steps.products import Product, Shelf
from facodec.bundled.steps.recorded import HopSteps, Recorded
from facodec.bundled.steps.states import FastDecoderState, Rounded, later, nothing_said
from facodec.bundled.synthesis import (
    BINS,
    N_FFT,
    NOISE_FRAMES,
    SUBFRAMES,
    SUBHOP,
    TAIL,
    TOP_HARMONIC,
    WINDOW,
    SynthesisState,
    dirichlet,
)
from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, HOP, SAMPLE_RATE, TIMBRE_DIM


class FastDecoder:
    """Steps of one model's decoder; takes its weights as they are when it is made."""

    def __init__(self, model: LiveNetwork) -> None:
        self._model = model
        shelf = Shelf(model.average_first.device)
        self.steps: HopSteps = Recorded(self._hop, shelf)
        self.synthesizer = FastSynthesizer(model, shelf)
        self.stack = FastStack.of(model.decoder, shelf)
        self.kept = Kept.of(self.stack.blocks[1:])
        first = self.stack.blocks[0]
        self.filter = torch.cat((first.past_filter, first.last.unsqueeze(0)))
        self.filter_bias = first.bias
        self.codes = _code_table(model)
        offsets = torch.arange(CODE_LAYERS, device=self.codes.device) * (CODEBOOK_SIZE + 1) + 1
        self._code_rows = offsets
        self.condition = _condition(model, shelf)
        self.head_norm, self.head = model.head_norm, _head(model, shelf)

    def initial_state(self, batch: int, seed: int) -> FastDecoderState:
        like = self._model.average_first
        past = like.new_zeros(batch, CONTEXT, sum(self.kept.widths))
        return FastDecoderState(
            codes=nothing_said(batch, CONTEXT, like.device),
            past=Rounded.of(past),
            timbre=like.new_zeros(batch, TIMBRE_DIM),
            synthesis=self._model.synthesizer.initial_state(batch, seed),
            started=False,
        )

    def step(
        self, codes: Tensor, timbre: Tensor, state: FastDecoderState
    ) -> tuple[Tensor, FastDecoderState]:
        """codes (B, 6, 1), timbre (B, 256) -> audio (B, 200), nothing for the first frame."""
        like = state if state.started else replace(state, started=True)
        audio, after = self.steps((codes, timbre), state, like)
        return audio if state.started else audio[:, HOP:], after

    def _hop(
        self, codes: Tensor, timbre: Tensor, state: FastDecoderState
    ) -> tuple[Tensor, FastDecoderState]:
        first_frame = state.codes[:, -1, :1] < 0
        gliding = torch.lerp(timbre, torch.where(first_frame, timbre, state.timbre), 1.0 - GLIDE)
        frames = torch.cat((state.codes, codes.transpose(1, 2)), dim=1)
        entered = self._meaning(frames)
        filtered = (entered * self.filter).sum(1).add_(self.filter_bias)
        pasts = self.kept.contributions(state.past.numbers().unbind(1))
        x = entered[:, -1]
        outputs = self.stack.run(x, filtered, pasts, self._conditions(gliding))
        pitch = self.synthesizer.hertz.index_select(0, codes[:, 0, 0])
        predicted = self._predict(outputs[-1])
        audio, synthesis = self.synthesizer(pitch, predicted, state.synthesis)
        after = FastDecoderState(
            codes=frames[:, 1:],
            past=state.past.followed_by(self.kept.newest(outputs[:-1]).unsqueeze(1)),
            timbre=gliding,
            synthesis=synthesis,
            started=True,
        )
        return audio, after

    def flush(self, state: FastDecoderState) -> Tensor:
        """The audio (B, 200 m) still owed."""
        return state.synthesis.tail[:, : HOP if state.started else 0]

    def expand(self, state: FastDecoderState) -> DecoderState:
        """The state as :class:`LiveNetwork` takes it."""
        pasts = state.past.numbers().split(self.kept.widths, dim=2)
        return DecoderState(
            blocks=(self._meaning(state.codes), *pasts),
            timbre=state.timbre,
            fresh=state.codes[:, -1, 0] < 0,
            synthesis=state.synthesis,
            started=state.started,
        )

    def compress(
        self, after: DecoderState, before: FastDecoderState, codes: Tensor
    ) -> FastDecoderState:
        """The state after a step of :class:`LiveNetwork` from ``before`` with codes (B, 6, n)."""
        return FastDecoderState(
            codes=later(before.codes, codes.transpose(1, 2)),
            past=Rounded.of(torch.cat(after.blocks[1:], dim=2)),
            timbre=after.timbre,
            synthesis=after.synthesis,
            started=after.started,
        )

    def _meaning(self, codes: Tensor) -> Tensor:
        """Input of the first block (B, n, width) for codes (B, n, 6); zeros for absent ones."""
        rows = (codes + self._code_rows).view(-1, CODE_LAYERS)
        meaning = F.embedding_bag(rows, self.codes, mode="sum")
        return meaning.view(codes.shape[0], codes.shape[1], -1)

    def _conditions(self, timbre: Tensor) -> list[Condition]:
        enter, leave = self.condition
        parts = leave(F.silu(enter(timbre))).split(self._model.decoder.width, dim=1)
        return list(zip(parts[0::2], parts[1::2], strict=True))

    def _predict(self, x: Tensor) -> Tensor:
        norm = self.head_norm
        y = torch.layer_norm(
            x + self.stack.offset, norm.normalized_shape, norm.weight, norm.bias, norm.eps
        )
        return self.head(y)


class FastSynthesizer:
    """:class:`facodec.bundled.synthesis.Synthesizer` for one frame."""

    def __init__(self, model: LiveNetwork, shelf: Shelf) -> None:
        own = self.own = model.synthesizer
        c = model.config
        self.bands, self.phase_bands = c.bands, c.phase_bands
        shape = torch.cat((own.log_gain, own.phase_of_gain), dim=1).double()
        self.shape = shelf.product(GAIN_RANGE * shape, GAIN_CENTRE * shape.sum(0))
        ramp = own.ramp.double()
        self.rise = ramp / SAMPLE_RATE
        self.bend = ramp * ramp / (2 * HOP * SAMPLE_RATE)
        self._subframes = torch.arange(SUBFRAMES, device=ramp.device)
        codes = torch.arange(CODEBOOK_SIZE, device=ramp.device)
        self.hertz = prosody.pitch_hertz(prosody.split(codes)[0])
        """Pitch of each prosody code, float64, 0 where unvoiced."""

    def __call__(
        self, pitch: Tensor, predicted: Tensor, state: SynthesisState
    ) -> tuple[Tensor, SynthesisState]:
        """pitch (B,) Hz, predicted (B, 480) as :func:`_head` orders it -> audio (B, 200)."""
        pulses, state = self._pulses(pitch, state)
        excitation = torch.cat((state.pulses, pulses), dim=1).unfold(1, WINDOW, SUBHOP)
        spectrum = torch.fft.rfft(excitation * self.own.window, N_FFT)
        harmonic, noise = self._filters(predicted)
        index = (state.noise.unsqueeze(1) + self._subframes) % NOISE_FRAMES
        spectrum = torch.addcmul(spectrum * harmonic, self.own.noise_frames[index], noise)
        blocks = torch.fft.irfft(spectrum, N_FFT)
        summed = F.pad(blocks[:, 0], (0, SUBHOP))
        summed[:, SUBHOP:] += blocks[:, 1]
        summed[:, :TAIL] += state.tail
        after = replace(
            state,
            pulses=pulses[:, -SUBHOP:],
            noise=(state.noise + SUBFRAMES) % NOISE_FRAMES,
            tail=summed[:, HOP:],
        )
        return summed[:, :HOP], after

    def _filters(self, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """The filters (B, 2, BINS) for pulses and noise of both sub-frames."""
        gains, correction = predicted.split(
            (2 * SUBFRAMES * self.bands, SUBFRAMES * self.phase_bands), dim=1
        )
        shapes = self.shape(torch.tanh(gains).view(-1, self.bands))
        shapes = shapes.view(-1, 2, SUBFRAMES, 2 * BINS)
        turned = correction.view(-1, SUBFRAMES, self.phase_bands) @ self.own.phase_correction
        shapes[:, 0, :, BINS:] += turned
        magnitude, phase = shapes[..., :BINS].exp(), shapes[..., BINS:]
        harmonic, noise = torch.polar(magnitude, phase).unbind(1)
        return harmonic, noise

    def _pulses(self, pitch: Tensor, state: SynthesisState) -> tuple[Tensor, SynthesisState]:
        """Pulse train (B, 200) of unit power, its pitch gliding over the hop."""
        voiced = pitch > 0
        held = torch.where(voiced, pitch, state.pitch)
        before = torch.where(state.voiced, state.pitch, held)
        ends = state.phase + (before + held) * (HOP / 2 / SAMPLE_RATE)
        rise = torch.addcmul(state.phase.unsqueeze(1), before.unsqueeze(1), self.rise)
        phase = rise.addcmul_((held - before).unsqueeze(1), self.bend).frac_()
        harmonics = (TOP_HARMONIC / torch.maximum(before, held)).floor_().unsqueeze(1)
        pulses = dirichlet(phase.float(), harmonics.float())
        return pulses, replace(state, phase=ends.frac_(), pitch=held, voiced=voiced)


def _code_table(model: LiveNetwork) -> Tensor:
    """Input of the first block by code: rows of zeros and 1024 codes for every layer, the bias of
    the stack's entry in those of the prosody layer."""
    codes = torch.arange(CODEBOOK_SIZE, device=model.average_first.device)
    pitch, level = prosody.split(codes)
    meaning = model.pitch_embedding(pitch) + model.level_embedding(level) + model.decoder.enter.bias
    enter = matrix(model.decoder.enter)
    content, detail = enter.chunk(2)
    tables = (
        torch.cat((torch.zeros_like(meaning[:1]), meaning)).detach(),
        word_table(model.content_quantizer, content),
        word_table(model.detail_quantizer, detail),
    )
    return torch.cat(tables)


def _condition(model: LiveNetwork, shelf: Shelf) -> tuple[Product, Product]:
    """From a timbre, and on to each block's gains, one added, and biases."""
    first, last = model.condition[0], model.condition[2]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    enter = matrix(first).clone()
    enter[:VOICE_DIM] *= math.sqrt(VOICE_DIM)
    bias = last.bias.detach().double().view(-1, 2, model.decoder.width).clone()
    bias[:, 0] += 1.0
    return shelf.product(enter, first.bias), shelf.product(matrix(last), bias.flatten())


def _head(model: LiveNetwork, shelf: Shelf) -> Product:
    """To the gains over their range, first of the pulses (2 sub-frames, bands),
    then of the noise, and to the phase corrections (2 sub-frames, phase bands)."""
    c = model.config
    both = torch.cat((matrix(model.head), model.head.bias.detach().double().unsqueeze(0)))
    parts = both.view(-1, SUBFRAMES, 2 * c.bands + c.phase_bands).split(
        (c.bands, c.bands, c.phase_bands), dim=2
    )
    pulses, noise, correction = (part.flatten(1) for part in parts)
    ordered = torch.cat((pulses / GAIN_RANGE, noise / GAIN_RANGE, correction), dim=1)
    return shelf.product(ordered[:-1], ordered[-1])
