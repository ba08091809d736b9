"""Laws of the bundled model: causal, the same however it is cut, a value for a state."""

from __future__ import annotations

import itertools
import os
import resource
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facodec.bundled.model import BLOCK_FRAMES, LiveModel, block_sizes, parameter_count
from facodec.codec import Codec
from facodec.config import ABSENT, HOP, LiveConfig
from facodec.states import stack_states, state_bytes, tensors_of, unstack_state
from tests.exactness import assert_equal_audio, assert_equal_codes, assert_equal_numbers

FRAMES = 30


@pytest.fixture(scope="module")
def model(live: Codec) -> LiveModel:
    assert isinstance(live.model, LiveModel)
    return live.model


@pytest.fixture(scope="module")
def audio(hello: np.ndarray, reply: np.ndarray) -> torch.Tensor:
    """Two stretches of speech (2, 200 FRAMES)."""
    start = 4_000
    rows = [x[start : start + FRAMES * HOP] for x in (hello, reply)]
    return torch.from_numpy(np.stack(rows))


def test_promises_of_size_and_latency(model: LiveModel) -> None:
    assert parameter_count(model) <= 5_000_000
    assert model.latency.total <= 400


@pytest.mark.law
@torch.inference_mode()
@given(cuts=st.lists(st.integers(0, FRAMES), max_size=8), seed=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_any_cutting_equals_offline(
    model: LiveModel, audio: torch.Tensor, cuts: list[int], seed: int
) -> None:
    _, timbre = model.encode_with_timbre(audio)
    encoder, decoder = model.encoder_state(2), model.decoder_state(2, seed)
    heard, spoken = [], []
    edges = sorted({0, FRAMES, *cuts})
    for first, last in itertools.pairwise(edges):
        part, encoder = model.encoder_step(audio[:, first * HOP : last * HOP], encoder)
        sound, decoder = model.decoder_step(part, timbre, decoder)
        heard.append(part)
        spoken.append(sound)
    spoken.append(model.decoder_flush(timbre, decoder))
    assert_equal_codes(torch.cat(heard, 2), model, audio)
    assert_equal_numbers(model.encoder_timbre(encoder), timbre)
    assert_equal_audio(torch.cat(spoken, 1), model.decode(torch.cat(heard, 2), timbre, seed))


@pytest.mark.law
@torch.inference_mode()
@pytest.mark.parametrize("frame", [3, 11, 20])
def test_the_future_changes_nothing_before_the_latency(
    model: LiveModel, audio: torch.Tensor, frame: int
) -> None:
    changed = audio.clone()
    changed[:, frame * HOP :] = torch.randn_like(changed[:, frame * HOP :])
    codes, other = model.encode(audio), model.encode(changed)
    assert torch.equal(codes[:, :, :frame], other[:, :, :frame])
    assert not torch.equal(codes[:, :, frame], other[:, :, frame])
    timbre = model.encode_with_timbre(audio)[1]
    spoken, otherwise = model.decode(codes, timbre), model.decode(other, timbre)
    untouched = (frame + 1) * HOP - model.latency.total
    assert_equal_audio(spoken[:, :untouched], otherwise[:, :untouched])
    # The stated latency is no larger than it has to be: the very next hop does change.
    after = slice(untouched, untouched + HOP)
    with pytest.raises(AssertionError, match="off by"):
        assert_equal_audio(spoken[:, after], otherwise[:, after])


@torch.inference_mode()
def test_a_state_is_a_value(model: LiveModel, audio: torch.Tensor) -> None:
    """Going on twice from one kept state gives the same bits, and a step leaves it alone."""
    codes, timbre = model.encode_with_timbre(audio)
    _, encoder = model.encoder_step(audio[:, : 10 * HOP], model.encoder_state(2))
    _, decoder = model.decoder_step(codes[:, :, :10], timbre, model.decoder_state(2))
    before = [t.clone() for state in (encoder, decoder) for t in tensors_of(state)]
    runs = [
        (
            model.encoder_step(audio[:, 10 * HOP :], encoder)[0],
            model.decoder_step(codes[:, :, 10:], timbre, decoder)[0],
        )
        for _ in range(2)
    ]
    after = [t for state in (encoder, decoder) for t in tensors_of(state)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.law
@torch.inference_mode()
def test_streams_in_a_batch_equal_streams_alone(model: LiveModel, audio: torch.Tensor) -> None:
    """Streams of different age and talker, stepped as one batch."""
    codes, timbre = model.encode_with_timbre(audio)
    ages = (5, 12)
    encoders, decoders = [], []
    for row, age in enumerate(ages):
        one = slice(row, row + 1)
        encoders.append(model.encoder_step(audio[one, : age * HOP], model.encoder_state())[1])
        first = model.decoder_step(codes[one, :, :age], timbre[one], model.decoder_state())
        decoders.append(first[1])
    chunk = torch.stack([audio[r, a * HOP : (a + 1) * HOP] for r, a in enumerate(ages)])
    next_codes = torch.stack([codes[r, :, a : a + 1] for r, a in enumerate(ages)])
    heard, encoder = model.encoder_step(chunk, stack_states(encoders))
    spoken, decoder = model.decoder_step(next_codes, timbre, stack_states(decoders))
    for row in range(2):
        one = slice(row, row + 1)
        alone, state = model.encoder_step(chunk[one], encoders[row])
        age = ages[row]
        for found in (heard[one], alone):
            whole = torch.cat((codes[one, :, :age], found), 2)
            assert_equal_codes(whole, model, audio[one, : (age + 1) * HOP])
        sound, sounding = model.decoder_step(next_codes[one], timbre[one], decoders[row])
        assert_equal_audio(spoken[one], sound)
        for batched, single in ((encoder, state), (decoder, sounding)):
            pairs = zip(tensors_of(unstack_state(batched)[row]), tensors_of(single), strict=True)
            for ours, theirs in pairs:
                assert_equal_numbers(ours, theirs)


@torch.inference_mode()
def test_ten_minutes_leave_memory_and_time_as_they_were() -> None:
    """At small widths, which change nothing about what is kept and for how long."""
    small = {"content_width": 16, "prosody_width": 16, "timbre_width": 16, "decoder_width": 16}
    model = LiveModel(LiveConfig(**small)).eval()
    hops = 48_000
    block = 20
    random = torch.Generator().manual_seed(0)
    encoder, decoder = model.encoder_state(), model.decoder_state()
    timbre = model.encoder_timbre(encoder)
    sizes, memory, shapes = set(), [], set()
    seconds = np.zeros(hops // block)
    for i in range(hops // block):
        start = time.process_time()
        audio = 0.1 * torch.randn(1, block * HOP, generator=random)
        codes, encoder = model.encoder_step(audio, encoder)
        sound, decoder = model.decoder_step(codes, timbre, decoder)
        if i:  # the first call of a decoder stream is a hop shorter
            shapes.add((codes.shape, sound.shape))
        sizes.add((state_bytes(encoder), state_bytes(decoder)))
        seconds[i] = time.process_time() - start
        if i % 400 == 0:
            memory.append(resident_bytes())
    tenth = len(seconds) // 10
    assert np.median(seconds[-tenth:]) < 2 * np.median(seconds[:tenth])  # generous: no growth
    assert len(shapes) == 1 and len(sizes) == 1
    assert memory[-1] - memory[1] < 8e6, f"resident memory in bytes: {memory}"


def test_recordings_of_any_length_are_handled_in_few_sizes(
    model: LiveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every size of a step the libraries below keep compiled code, for ever."""
    lengths = range(3 * BLOCK_FRAMES)
    assert [sum(block_sizes(n)) for n in lengths] == [*lengths]
    assert len({size for n in lengths for size in block_sizes(n)}) <= 10
    taken: list[int] = []

    def encoder_step(audio: torch.Tensor, state: Any) -> Any:
        taken.append(audio.shape[1] // HOP)
        return LiveModel.encoder_step(model, audio, state)

    monkeypatch.setattr(model, "encoder_step", encoder_step)
    with torch.inference_mode():
        model.encode(torch.zeros(1, (2 * BLOCK_FRAMES + 37) * HOP))
    assert taken == [BLOCK_FRAMES, BLOCK_FRAMES, 32, 4, 1]


def resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@torch.inference_mode()
def test_the_seed_decides_the_noise(model: LiveModel, audio: torch.Tensor) -> None:
    codes, timbre = model.encode_with_timbre(audio)
    first, again, other = (model.decode(codes, timbre, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@torch.inference_mode()
def test_absent_detail_still_speaks(model: LiveModel, audio: torch.Tensor) -> None:
    codes, timbre = model.encode_with_timbre(audio)
    fewer = codes.clone()
    fewer[:, 3:] = ABSENT
    sound = model.decode(fewer, timbre)
    assert torch.isfinite(sound).all()
    assert not torch.equal(sound, model.decode(codes, timbre))


@pytest.mark.law
@torch.inference_mode()
def test_a_new_timbre_glides_in(model: LiveModel, audio: torch.Tensor) -> None:
    """Swapping the voice makes no larger step between samples than the voices themselves do."""
    codes, timbre = model.encode_with_timbre(audio)
    row = codes[:1]
    first, state = model.decoder_step(row[:, :, :15], timbre[:1], model.decoder_state())
    second, _ = model.decoder_step(row[:, :, 15:], timbre[1:], state)
    swapped = torch.cat((first, second), 1)
    either = [model.decode(row, t.unsqueeze(0)) for t in timbre]
    largest = max(float(x.diff(dim=1).abs().max()) for x in either)
    seam = swapped[:, first.shape[1] - 5 : first.shape[1] + 5]
    assert float(seam.diff(dim=1).abs().max()) <= largest
    kept, instead = either[0][:, : swapped.shape[1]].split((first.shape[1], second.shape[1]), 1)
    assert_equal_audio(first, kept)
    assert float((second - instead).abs().max()) > 1e-3


@torch.inference_mode()
def test_conversion_moves_the_pitch_to_the_target(live: Codec, hello: np.ndarray) -> None:
    from facodec.bundled import prosody

    frames = live.encode(hello)
    target = frames.timbre.copy()
    target[-1] -= 1.0  # an octave lower
    moved = live.convert_codes(frames.codes, frames.timbre, target)
    assert moved.shape == (3, frames.codes.shape[1])
    before, after = (prosody.split(torch.from_numpy(c[0]))[0] for c in (frames.codes, moved))
    assert torch.equal(before == 0, after == 0)
    ratio = prosody.pitch_hertz(after[after > 1]) / prosody.pitch_hertz(before[after > 1])
    assert abs(float(ratio.median()) - 0.5) < 0.01
