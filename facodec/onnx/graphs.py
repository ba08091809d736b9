"""Parts of each model that become graphs: modules of tensors in and tensors out."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled.model import DecoderState, EncoderState, LiveModel
from facodec.bundled.talker import Memories, VoiceStatistics
from facodec.config import CODE_LAYERS, HOP, TIMBRE_DIM
from facodec.onnx.fixed import ENDLESS, Clock, FixedChain, Place
from facodec.onnx.flatten import named_tensors, with_tensors
from facodec.onnx.live_parts import GraphFeatures, GraphSynthesizer
from facodec.published.layers import Conv
from facodec.published.model import Ns3Model
from facodec.published.timbre import TimbreEncoder

BATCH = 2
"""Rows in the examples; 1 would be taken for a constant."""


@dataclass(frozen=True)
class Graph:
    """``module(*inputs, state)`` -> outputs, and the next state where there is one.

    ``inputs``: examples by name; ``state``: initial values by name, batch first; ``free``: the
    name of each input's axis that may have any length, other than the batch's, at 1;
    ``delay``: frames before the first result.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    state: dict[str, Tensor] = field(default_factory=dict)
    free: dict[str, str] = field(default_factory=dict)
    delay: int = 0


def graphs_of(model: LiveModel | Ns3Model, hops: int) -> dict[str, Graph]:
    """``encoder``, ``decoder`` (a call takes ``hops`` frames) and ``talker``, which makes a timbre
    of what the encoder has gathered."""
    with torch.no_grad():
        return (
            _live_graphs(model, hops) if isinstance(model, LiveModel) else _ns3_graphs(model, hops)
        )


def _live_graphs(model: LiveModel, hops: int) -> dict[str, Graph]:
    ready = deepcopy(model)
    ready.features = GraphFeatures(model.features, hops)  # type: ignore[assignment]
    ready.synthesizer = GraphSynthesizer(model.synthesizer, hops)  # type: ignore[assignment]
    heard, spoken = model.encoder_state(BATCH), model.decoder_state(BATCH)
    return {
        "encoder": Graph(LiveEncoder(ready, heard), _audio(hops), ("codes",), named_tensors(heard)),
        "decoder": Graph(
            LiveDecoder(ready, spoken),
            _codes(hops),
            ("audio",),
            named_tensors(spoken),
            delay=1,
        ),
        "talker": Graph(LiveTalker(ready), named_tensors(heard.voice), ("timbre",)),
    }


def _ns3_graphs(model: Ns3Model, hops: int) -> dict[str, Graph]:
    encoder, decoder = Ns3Encoder(model, hops), Ns3Decoder(model, hops)
    latents = torch.zeros(BATCH, model.config.timbre_frames[0], model.config.latent_dim)
    return {
        "encoder": Graph(
            encoder,
            _audio(hops) | _clock(),
            ("codes", "latents"),
            _zeros(encoder.chain.states),
            delay=encoder.chain.out.delay,
        ),
        "decoder": Graph(
            decoder,
            _codes(hops) | _clock(),
            ("audio",),
            _zeros(decoder.chain.states) | {"ready": torch.zeros(BATCH, decoder.held)},
            delay=model.latency.decoder // HOP,
        ),
        "talker": Graph(
            Ns3Talker(model.decoder.timbre_encoder),
            {"latents": latents},
            ("timbre",),
            free={"latents": "frames"},
        ),
    }


def _audio(hops: int) -> dict[str, Tensor]:
    return {"audio": torch.zeros(BATCH, HOP * hops)}


def _codes(hops: int) -> dict[str, Tensor]:
    codes = torch.zeros(BATCH, CODE_LAYERS, hops, dtype=torch.long)
    return {"codes": codes, "timbre": torch.zeros(BATCH, TIMBRE_DIM)}


def _clock() -> dict[str, Tensor]:
    return {"heard": torch.tensor([0]), "coming": torch.tensor([ENDLESS])}


def _zeros(shapes: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    return {name: torch.zeros(BATCH, *shape) for name, shape in shapes.items()}


class LiveEncoder(nn.Module):
    def __init__(self, model: LiveModel, like: EncoderState) -> None:
        super().__init__()
        self.model, self.like = model, like

    def forward(self, audio: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        codes, after = self.model.encoder_step(audio, with_tensors(self.like, iter(state)))
        return codes, list(named_tensors(after).values())


class LiveDecoder(nn.Module):
    """Gives the hop before the first frame too, which the caller drops."""

    def __init__(self, model: LiveModel, like: DecoderState) -> None:
        super().__init__()
        self.model, self.like = model, replace(like, started=True)

    def forward(
        self, codes: Tensor, timbre: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        before = with_tensors(self.like, iter(state))
        audio, after = self.model.decoder_step(codes, timbre, before)
        return audio, list(named_tensors(after).values())


class LiveTalker(nn.Module):
    def __init__(self, model: LiveModel) -> None:
        super().__init__()
        self.model, self.like = model, model.encoder_state(BATCH)

    def forward(
        self,
        weight: Tensor,
        first: Tensor,
        second: Tensor,
        pitches: Tensor,
        short_weight: Tensor,
        short_first: Tensor,
        short_second: Tensor,
        short_pitches: Tensor,
    ) -> Tensor:
        """Sums that the encoder's state gathers under ``voice`` -> timbre (B, 256)."""
        voice = Memories(
            VoiceStatistics(weight, first, second, pitches),
            VoiceStatistics(short_weight, short_first, short_second, short_pitches),
        )
        return self.model.encoder_timbre(replace(self.like, voice=voice))


class Ns3Encoder(nn.Module):
    def __init__(self, model: Ns3Model, hops: int) -> None:
        super().__init__()
        self.chain = FixedChain(model.encoder.block, Place(HOP, HOP * hops, 0))
        self.decoder = model.decoder

    def forward(
        self, audio: Tensor, heard: Tensor, coming: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        latent, after = self.chain(audio.unsqueeze(-1), state, Clock(heard, coming))
        return self.decoder.quantize(latent), latent, after


class Ns3Decoder(nn.Module):
    """The last samples of a call wait for the next, so that what comes out is whole frames."""

    def __init__(self, model: Ns3Model, hops: int) -> None:
        super().__init__()
        self.chain = FixedChain(model.decoder.model, Place(1, hops, 0))
        self.decoder = model.decoder
        self.held = model.latency.decoder - self.chain.out.delay

    def forward(
        self, codes: Tensor, timbre: Tensor, heard: Tensor, coming: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        conditioned = self.decoder.condition(self.decoder.embed(codes), timbre)
        raw, after = self.chain(conditioned, state[:-1], Clock(heard, coming))
        audio = torch.cat((state[-1], torch.tanh(raw).squeeze(-1)), dim=1)
        count = self.chain.out.count
        return audio[:, :count], [*after, audio[:, count:]]


class Ns3Talker(nn.Module):
    """The timbre encoder over any number of frames."""

    def __init__(self, encoder: TimbreEncoder) -> None:
        super().__init__()
        self.encoder = deepcopy(encoder)
        for layer in self.encoder.layers:
            layer.ffn.ffn_1 = Whole(layer.ffn.ffn_1)  # type: ignore[union-attr, arg-type]

    def forward(self, latents: Tensor) -> Tensor:
        """latents (B, T, 256) -> timbre (B, 256)."""
        timbre: Tensor = self.encoder(latents)
        return timbre


class Whole(nn.Module):
    """A convolution over a whole signal of any length, as a product of matrices."""

    def __init__(self, conv: Conv) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(conv.matrix), conv.bias
        self.kernel, self.padding = conv.weight.shape[2], conv.window.left

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, C) -> (B, T, C')."""
        padded = F.pad(x, (0, 0, self.padding, self.padding))
        taps = [padded[:, i : i + x.shape[1]] for i in range(self.kernel)]
        return torch.cat(taps, dim=2) @ self.weight + self.bias
