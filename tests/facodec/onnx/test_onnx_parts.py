"""Parts of graphs, in PyTorch: layers of fixed shapes, transforms as matrix products."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from facodec.bundled.model import DecoderState, EncoderState, LiveModel
from facodec.codec import Codec
from facodec.config import HOP
from facodec.onnx.fixed import ENDLESS, REACH, Clock, FixedChain, Place
from facodec.onnx.flatten import named_tensors, with_tensors
from facodec.onnx.graphs import Whole
from facodec.onnx.live_parts import GraphFeatures, GraphSynthesizer
from facodec.published.layers import Chain
from facodec.published.model import Ns3Model
from facodec.states import tensors_of
from tests.exactness import assert_equal_audio, assert_equal_numbers


def run_fixed(chain: FixedChain, signal: Tensor, frames: int, hops: int) -> Tensor:
    """All of a signal (B, T, C) of this many frames, and then something else than silence."""
    place = chain.out
    late = -(-place.delay // place.per_frame)
    calls = -(-(frames + late) // hops)
    per_frame = signal.shape[1] // frames
    rest = torch.full((len(signal), calls * hops * per_frame, signal.shape[2]), 5.0)
    rest[:, : signal.shape[1]] = signal
    kept = [torch.zeros(len(signal), *shape) for shape in chain.states.values()]
    parts = []
    for call, block in enumerate(rest.split(hops * per_frame, dim=1)):
        heard = min(call * hops, late + REACH)
        coming = frames - call * hops
        clock = Clock(torch.tensor([heard]), torch.tensor([ENDLESS if coming >= hops else coming]))
        part, kept = chain(block, kept, clock)
        parts.append(part)
    return torch.cat(parts, dim=1)[:, place.delay :][:, : frames * place.per_frame]


@pytest.mark.law
@torch.inference_mode()
@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 7, 40])
def test_fixed_shapes_compute_what_the_layers_do(
    small_ns3: Ns3Model, hops: int, frames: int
) -> None:
    generator = torch.Generator().manual_seed(frames)
    decoder = small_ns3.decoder.model
    assert isinstance(decoder, Chain)
    for chain, place, width in (
        (small_ns3.encoder.block, Place(HOP, HOP * hops, 0), 1),
        (decoder, Place(1, hops, 0), small_ns3.config.latent_dim),
    ):
        samples = frames * place.per_frame
        signal = 0.3 * torch.randn(2, samples, width, generator=generator)
        wanted = chain(signal)
        found = run_fixed(FixedChain(chain, place), signal, frames, hops)
        assert_equal_numbers(found, wanted)


@pytest.mark.law
@torch.inference_mode()
@pytest.mark.parametrize("hops", [1, 3])
def test_products_of_matrices_do_what_transforms_do(live: Codec, hops: int) -> None:
    model = live.model
    assert isinstance(model, LiveModel)
    ready = copy.deepcopy(model)
    ready.features = GraphFeatures(model.features, hops)  # type: ignore[assignment]
    ready.synthesizer = GraphSynthesizer(model.synthesizer, hops)  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(7)
    audio = 0.1 * torch.randn(2, 30 * HOP, generator=generator)
    pitch = torch.randint(0, 128, (2, 30), generator=generator)
    pitch[:, 10:14] = 0
    codes = torch.randint(0, 1024, (2, 6, 30), generator=generator)
    codes[:, 0] = pitch * 8 + 6
    timbre = 0.06 * torch.randn(2, 256, generator=generator)
    heard, spoken = model.encoder_state(2), model.decoder_state(2, seed=5)
    ours = [model.features(torch.cat((heard.history, audio[:, : hops * HOP]), dim=1))]
    ours.append(ready.features(torch.cat((heard.history, audio[:, : hops * HOP]), dim=1)))
    for wanted, found in zip(*ours, strict=True):
        assert_equal_numbers(found, wanted)
    wanted_audio = model.decode(codes, timbre, seed=5)
    parts = []
    for frames in codes.split(hops, dim=2):
        part, spoken = ready.decoder_step(frames, timbre, spoken)
        parts.append(part)
    found_audio = torch.cat(parts, dim=1)
    assert_equal_audio(found_audio, wanted_audio[:, : found_audio.shape[1]])


def test_states_by_name_and_back(live: Codec) -> None:
    model = live.model
    assert isinstance(model, LiveModel)
    states: tuple[EncoderState | DecoderState, ...] = (
        model.encoder_state(2),
        model.decoder_state(2),
    )
    for state in states:
        named = named_tensors(state)
        pairs = zip(named.values(), tensors_of(state), strict=True)
        assert all(tensor is other for tensor, other in pairs)
        doubled = with_tensors(state, iter([tensor.clone() for tensor in named.values()]))
        assert type(doubled) is type(state)
        for name, tensor in named_tensors(doubled).items():
            assert torch.equal(tensor, named[name])
    assert {"history", "content.0", "voice.long.pitches"} <= named_tensors(states[0]).keys()


@torch.inference_mode()
def test_a_convolution_over_a_whole_signal(small_ns3: Ns3Model) -> None:
    conv = small_ns3.decoder.timbre_encoder.layers[0].ffn.ffn_1  # type: ignore[union-attr]
    x = torch.randn(2, 9, small_ns3.config.latent_dim)
    assert_equal_numbers(Whole(conv)(x), conv(x))  # type: ignore[arg-type, operator]
