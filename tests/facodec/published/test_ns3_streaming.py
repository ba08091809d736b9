"""The published model as a stream: the same as offline, however the input is cut."""

from __future__ import annotations

import copy
import math
import resource
import time
from dataclasses import astuple
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from facodec.config import HOP, TIMBRE_DIM, Ns3Config
from facodec.published.model import DecoderState, EncoderState, Ns3Model
from facodec.states import stack_states, state_bytes, tensors_of, unstack_state
from tests.exactness import assert_equal_audio, assert_equal_codes, assert_equal_numbers

CHUNKS = st.lists(st.integers(0, 6), max_size=20)


def audio_of(frames: int, seed: int = 0, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(batch, frames * HOP, generator=generator)


def codes_of(frames: int, seed: int = 0, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 1024, (batch, 6, frames), generator=generator)


def timbre_of(seed: int = 0, batch: int = 1) -> Tensor:
    return torch.randn(batch, TIMBRE_DIM, generator=torch.Generator().manual_seed(seed))


def cut(x: Tensor, frames: list[int], unit: int) -> list[Tensor]:
    """x cut along its last axis into chunks of the given frame counts, and the rest."""
    sizes, left = [], x.shape[-1]
    for count in frames:
        sizes.append(min(count * unit, left))
        left -= sizes[-1]
    return list(x.split([*sizes, left], dim=-1))


def encode_stream(model: Ns3Model, audio: Tensor, frames: list[int]) -> Tensor:
    state, parts = model.encoder_state(audio.shape[0]), []
    for chunk in cut(audio, frames, HOP):
        codes, state = model.encoder_step(chunk, state)
        parts.append(codes)
    return torch.cat((*parts, model.encoder_flush(state)), dim=2)


def decode_stream(model: Ns3Model, codes: Tensor, timbre: Tensor, frames: list[int]) -> Tensor:
    state, parts = model.decoder_state(codes.shape[0]), []
    for chunk in cut(codes, frames, 1):
        audio, state = model.decoder_step(chunk, timbre, state)
        assert audio.shape[1] % HOP == 0
        parts.append(audio)
    return torch.cat((*parts, model.decoder_flush(timbre, state)), dim=1)


@settings(max_examples=30, deadline=None)
@given(total=st.integers(0, 60), frames=CHUNKS)
def test_encoding_in_any_chunks_is_encoding_offline(
    small_ns3: Ns3Model, total: int, frames: list[int]
) -> None:
    audio = audio_of(total, seed=total, batch=2)
    codes = encode_stream(small_ns3, audio, frames)
    assert codes.shape == (2, 6, total)
    assert_equal_codes(codes, small_ns3, audio)


@pytest.mark.law
@settings(max_examples=30, deadline=None)
@given(total=st.integers(0, 60), frames=CHUNKS)
def test_decoding_in_any_chunks_is_decoding_offline(
    small_ns3: Ns3Model, total: int, frames: list[int]
) -> None:
    codes, timbre = codes_of(total, seed=total, batch=2), timbre_of(batch=2)
    audio = decode_stream(small_ns3, codes, timbre, frames)
    assert audio.shape == (2, HOP * total)
    assert_equal_audio(audio, small_ns3.decode(codes, timbre))


@pytest.mark.law
def test_full_size_stream_gives_the_golden_codes_and_audio(
    ns3: Ns3Model, golden: dict[str, Tensor]
) -> None:
    codes = encode_stream(ns3, golden["wav_b"].unsqueeze(0), [1] * 35 + [7, 0, 3])
    assert_equal_codes(codes[0], ns3, golden["wav_b"])
    codes = golden["v1_b_codes"].long().unsqueeze(0)
    audio = decode_stream(ns3, codes, golden["v1_b_timbre"].unsqueeze(0), [1] * 35 + [7, 0, 3])
    assert_equal_audio(audio[0], golden["v1_b_audio"])


@settings(max_examples=15, deadline=None)
@given(order=st.lists(st.integers(0, 2), min_size=20, max_size=90))
def test_interleaved_streams_do_not_disturb_each_other(
    small_ns3: Ns3Model, order: list[int]
) -> None:
    """Three streams of one model take turns; one of them also starts anew half-way."""
    waiting = [list(audio_of(30, seed=i).split(HOP, dim=1)) for i in range(3)]
    states = [small_ns3.encoder_state() for _ in range(3)]
    heard: list[list[Tensor]] = [[], [], []]
    given_out: list[list[Tensor]] = [[], [], []]
    for turn, stream in enumerate(order):
        if turn == len(order) // 2:
            states[0], heard[0], given_out[0] = small_ns3.encoder_state(), [], []
        if waiting[stream]:
            heard[stream].append(waiting[stream].pop(0))
            codes, states[stream] = small_ns3.encoder_step(heard[stream][-1], states[stream])
            given_out[stream].append(codes)
    for stream in range(3):
        if heard[stream]:
            parts = (*given_out[stream], small_ns3.encoder_flush(states[stream]))
            whole = torch.cat(heard[stream], dim=1)
            assert_equal_codes(torch.cat(parts, dim=2), small_ns3, whole)


def test_a_kept_state_continues_bit_for_bit(small_ns3: Ns3Model) -> None:
    audio, codes, timbre = audio_of(60), codes_of(60), timbre_of()
    _, heard = small_ns3.encoder_step(audio[:, : 45 * HOP], small_ns3.encoder_state())
    _, spoken = small_ns3.decoder_step(codes[..., :45], timbre, small_ns3.decoder_state())
    copies = copy.deepcopy((heard, spoken))
    first = small_ns3.encoder_step(audio[:, 45 * HOP :], heard)[0]
    second = small_ns3.decoder_step(codes[..., 45:], timbre, spoken)[0]
    for now, then in zip(tensors_of((heard, spoken)), tensors_of(copies), strict=True):
        assert torch.equal(now, then)
    again = small_ns3.encoder_step(audio[:, 45 * HOP :], heard)[0]
    assert torch.equal(first, again)
    assert torch.equal(first, small_ns3.encoder_step(audio[:, 45 * HOP :], copies[0])[0])
    assert torch.equal(second, small_ns3.decoder_step(codes[..., 45:], timbre, copies[1])[0])


def shapes(state: EncoderState | DecoderState) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors_of(state)]


@pytest.mark.parametrize("size", ["small", "full"])
def test_in_the_steady_state_every_hop_has_the_same_shapes(
    size: str, request: pytest.FixtureRequest
) -> None:
    model: Ns3Model = request.getfixturevalue("ns3" if size == "full" else "small_ns3")
    warm_up = max(astuple(model.latency)) // HOP
    timbre = timbre_of()
    _, heard = model.encoder_step(audio_of(warm_up), model.encoder_state())
    _, spoken = model.decoder_step(codes_of(warm_up), timbre, model.decoder_state())
    wanted = shapes(heard), shapes(spoken)
    for _ in range(5):
        codes, heard = model.encoder_step(audio_of(1), heard)
        audio, spoken = model.decoder_step(codes, timbre, spoken)
        assert codes.shape == (1, 6, 1)
        assert audio.shape == (1, HOP)
        assert (shapes(heard), shapes(spoken)) == wanted


@pytest.mark.law
def test_streams_of_different_ages_step_as_one_batch(small_ns3: Ns3Model) -> None:
    ages = (45, 60, 100)
    timbre = timbre_of(batch=3)
    hop, frame = audio_of(1, seed=9, batch=3), codes_of(1, seed=9, batch=3)
    heard = [
        small_ns3.encoder_step(audio_of(age, seed=age), small_ns3.encoder_state())[1]
        for age in ages
    ]
    spoken = [
        small_ns3.decoder_step(codes_of(a, seed=a), timbre[i : i + 1], small_ns3.decoder_state())[1]
        for i, a in enumerate(ages)
    ]
    codes, after = small_ns3.encoder_step(hop, stack_states(heard))
    audio, _ = small_ns3.decoder_step(frame, timbre, stack_states(spoken))
    for i, own_state in enumerate(unstack_state(after)):
        one = slice(i, i + 1)
        own_codes, own_after = small_ns3.encoder_step(hop[one], heard[i])
        own_audio, _ = small_ns3.decoder_step(frame[one], timbre[one], spoken[i])
        assert torch.equal(codes[one], own_codes)
        assert_equal_audio(audio[one], own_audio)
        for got, wanted in zip(tensors_of(own_state), tensors_of(own_after), strict=True):
            assert_equal_numbers(got, wanted)


def resident_bytes() -> int:
    """Memory of this process, where the system tells, as Linux does."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0


def storage_bytes(state: EncoderState | DecoderState) -> int:
    """Memory that a state keeps alive, what its tensors are views of included."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors_of(state)}
    return sum(storage.nbytes() for storage in storages.values())


def test_ten_minutes_take_constant_memory_and_time_per_hop(small_ns3: Ns3Model) -> None:
    minutes, hops = 10, 16
    steps = minutes * 60 * 80 // hops
    tenth, warm_up = steps // 10, small_ns3.config.timbre_frames[-1] // hops + 10
    audio, timbre = audio_of(hops), timbre_of()
    heard, spoken = small_ns3.encoder_state(), small_ns3.decoder_state()
    seconds, held, frames, resident = [], set(), 0, 0
    for step in range(steps):
        begin = time.thread_time()
        codes, heard = small_ns3.encoder_step(audio, heard)
        spoken_audio, spoken = small_ns3.decoder_step(codes, timbre, spoken)
        seconds.append(time.thread_time() - begin)
        frames += spoken_audio.shape[1] // HOP
        if step == tenth:
            resident = resident_bytes()
        if step > warm_up:
            states = heard, spoken
            held.add(
                tuple(size(state) for state in states for size in (state_bytes, storage_bytes))
            )
    owed = (small_ns3.latency.total - HOP) // HOP
    assert frames == steps * hops - owed
    assert len(held) == 1
    assert resident_bytes() - resident < 4 * 2**20
    first, last = sorted(seconds[:tenth]), sorted(seconds[-tenth:])
    assert last[tenth // 2] < 2 * first[tenth // 2]


def test_latency_of_the_published_sizes() -> None:
    with torch.device("meta"):
        model = Ns3Model(Ns3Config())
    assert model.encoder_lookahead == 5_078
    assert model.decoder_lookahead == 5_526
    assert astuple(model.latency) == (27 * HOP, 28 * HOP)


def test_the_future_beyond_the_latency_changes_nothing(
    ns3: Ns3Model, golden: dict[str, Tensor]
) -> None:
    audio = golden["wav_b"].unsqueeze(0)[:, : 45 * HOP]
    changed = audio.clone()
    event = 40 * HOP
    changed[:, event:] += 0.1
    latent, after = ns3.latent(audio), ns3.latent(changed)
    moved = (latent - after).abs().amax(dim=2)[0] > 1e-4 * latent.abs().max()
    first = int(moved.int().argmax())
    # Frame f is complete once (f + 1) hops and the look-ahead have been heard.
    untouched = math.ceil((event - ns3.encoder_lookahead) / HOP) - 1
    assert first >= untouched
    assert torch.equal(latent[:, : untouched - 1], after[:, : untouched - 1])


def test_a_stream_waits_exactly_its_latency(ns3: Ns3Model, golden: dict[str, Tensor]) -> None:
    """The first frame comes with the hop that ends the stated latency, not before and not after;
    likewise the first audio."""
    heard = ns3.encoder_state()
    hops = ns3.latency.encoder // HOP
    codes, heard = ns3.encoder_step(golden["wav_b"].unsqueeze(0)[:, : (hops - 1) * HOP], heard)
    assert codes.shape[2] == 0
    assert ns3.encoder_step(audio_of(1), heard)[0].shape[2] == 1
    hops, timbre = ns3.latency.decoder // HOP, timbre_of()
    audio, spoken = ns3.decoder_step(codes_of(hops), timbre, ns3.decoder_state())
    assert audio.shape[1] == 0
    assert ns3.decoder_step(codes_of(1), timbre, spoken)[0].shape[1] == HOP


def test_the_running_timbre_is_that_of_the_frames_so_far(small_ns3: Ns3Model) -> None:
    milestones = small_ns3.config.timbre_frames
    delay = small_ns3.latency.encoder // HOP - 1
    audio = audio_of(milestones[-1] + 100)
    latent, state = small_ns3.latent(audio), small_ns3.encoder_state()
    for hop, chunk in enumerate(audio.split(HOP, dim=1), start=1):
        _, state = small_ns3.encoder_step(chunk, state)
        reached = max((m for m in milestones if m <= hop - delay), default=0)
        estimate = small_ns3.encoder_timbre(state)
        if not reached:
            assert estimate is None
        elif hop - delay == reached or hop == audio.shape[1] // HOP:
            assert estimate is not None
            with torch.inference_mode():
                wanted = small_ns3.decoder.timbre_encoder(latent[:, :reached])
            assert_equal_numbers(estimate, wanted)


def test_a_new_timbre_applies_from_its_frames_on(small_ns3: Ns3Model) -> None:
    codes, old, new = codes_of(80), timbre_of(1), timbre_of(2)
    first, state = small_ns3.decoder_step(codes[..., :40], old, small_ns3.decoder_state())
    second, state = small_ns3.decoder_step(codes[..., 40:], new, state)
    audio = torch.cat((first, second, small_ns3.decoder_flush(new, state)), dim=1)
    reach = math.ceil(small_ns3.decoder_lookahead / HOP)
    whole = small_ns3.decode(codes, old)
    assert_equal_audio(audio[:, : (40 - reach) * HOP], whole[:, : (40 - reach) * HOP])
    whole = small_ns3.decode(codes, new)
    assert_equal_audio(audio[:, (40 + 30) * HOP :], whole[:, (40 + 30) * HOP :])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: m.encode(torch.zeros(1, 150)), "whole hops"),
        (lambda m: m.encoder_step(torch.zeros(200), m.encoder_state()), "whole hops"),
        (lambda m: m.voice(torch.zeros(2, 200)), r"expected audio \(1, N\)"),
        (lambda m: m.voice(torch.zeros(1, 0)), "N > 0"),
        (lambda m: m.decode(codes_of(3)[:, :4], timbre_of()), r"expected codes \(B, 6, T\)"),
        (lambda m: m.decode(codes_of(3), torch.zeros(1, 8)), "expected a timbre"),
        (lambda m: Ns3Config(strides=(2, 4)), "product is 200"),
    ],
)
def test_bad_input_is_refused(small_ns3: Ns3Model, call: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call(small_ns3)  # type: ignore[operator]
