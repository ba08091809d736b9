"""The bundled model's single-hop steps: the same codes and sound as the model itself."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from facodec.bundled.model import LiveModel
from facodec.bundled.steps import FastLive
from facodec.bundled.steps.states import Rounded
from facodec.codec import Codec
from facodec.config import HOP, TIMBRE_DIM
from facodec.native import compiled
from facodec.states import stack_states, state_bytes, tensors_of, unstack_state
from tests.conftest import missing
from tests.exactness import assert_equal_audio, assert_equal_codes, assert_equal_numbers

MOST_STATE = 64 * 1024


def need_compiled_code() -> None:
    if os.environ.get(compiled.SWITCH) == "0":
        pytest.skip("compiled code is switched off")
    if compiled.library(compiled.SOURCES) is None:
        missing("a C compiler")


@pytest.fixture(scope="module")
def model(live: Codec) -> LiveModel:
    assert isinstance(live.model, LiveModel)
    return live.model


@pytest.fixture(scope="module", params=["native", "float32"])
def fast(model: LiveModel, request: pytest.FixtureRequest) -> FastLive:
    if request.param == "native":
        need_compiled_code()
    return FastLive(model, request.param)


@pytest.fixture(scope="module", params=["hello", "reply"])
def speech(request: pytest.FixtureRequest) -> torch.Tensor:
    """3 s (1, N)."""
    return torch.from_numpy(request.getfixturevalue(request.param)[: 240 * HOP]).unsqueeze(0)


@pytest.mark.law
@torch.inference_mode()
@pytest.mark.parametrize("sizes", [[1], [0, 1, 2, 3, 5, 8, 20]])
def test_streams_equal_the_model(
    model: LiveModel, fast: FastLive, speech: torch.Tensor, sizes: list[int]
) -> None:
    _, timbre = model.encode_with_timbre(speech)
    encoder, decoder = fast.encoder_state(), fast.decoder_state(1, seed=3)
    random, at, heard, spoken = np.random.default_rng(0), 0, [], []
    while at < speech.shape[1]:
        end = at + HOP * int(random.choice(sizes))
        part, encoder = fast.encoder_step(speech[:, at:end], encoder)
        sound, decoder = fast.decoder_step(part, timbre, decoder)
        heard.append(part)
        spoken.append(sound)
        at = end
    spoken.append(fast.decoder_flush(timbre, decoder))
    assert_equal_codes(torch.cat(heard, 2), model, speech)
    assert_equal_numbers(fast.encoder_timbre(encoder), timbre)
    assert_equal_audio(torch.cat(spoken, 1), model.decode(torch.cat(heard, 2), timbre, seed=3))


@pytest.mark.law
@torch.inference_mode()
@pytest.mark.parametrize("batch", [2, 12])
def test_streams_in_a_batch_equal_streams_alone(
    model: LiveModel, fast: FastLive, speech: torch.Tensor, batch: int
) -> None:
    """Streams of different ages, in plain and in packed products."""
    codes, timbre = model.encode_with_timbre(speech)
    ages = [3 + 7 * row for row in range(batch)]
    encoders = [fast.encoder_step(speech[:, : a * HOP], fast.encoder_state())[1] for a in ages]
    decoders = [
        fast.decoder_step(codes[:, :, :a], timbre, fast.decoder_state(1, a))[1] for a in ages
    ]
    chunk = torch.cat([speech[:, a * HOP : (a + 1) * HOP] for a in ages])
    frame = torch.cat([codes[:, :, a : a + 1] for a in ages])
    heard, encoder = fast.encoder_step(chunk, stack_states(encoders))
    spoken, decoder = fast.decoder_step(
        frame, timbre.expand(batch, TIMBRE_DIM), stack_states(decoders)
    )
    for row, age in enumerate(ages):
        found = torch.cat((codes[:, :, :age], heard[row : row + 1]), 2)
        assert_equal_codes(found, model, speech[:, : (age + 1) * HOP])
        _, alone = fast.encoder_step(chunk[row : row + 1], encoders[row])
        sound, sounding = fast.decoder_step(frame[row : row + 1], timbre, decoders[row])
        assert_equal_audio(spoken[row : row + 1], sound)
        for batched, single in ((encoder, alone), (decoder, sounding)):
            pairs = zip(tensors_of(unstack_state(batched)[row]), tensors_of(single), strict=True)
            for ours, theirs in pairs:
                if ours.is_floating_point():
                    assert_equal_numbers(ours, theirs)


@torch.inference_mode()
def test_a_step_leaves_its_state_alone(fast: FastLive, speech: torch.Tensor) -> None:
    codes, encoder = fast.encoder_step(speech[:, : 9 * HOP], fast.encoder_state())
    timbre = fast.encoder_timbre(encoder)
    _, decoder = fast.decoder_step(codes, timbre, fast.decoder_state())
    before = [t.clone() for state in (encoder, decoder) for t in tensors_of(state)]
    hop = speech[:, 9 * HOP : 10 * HOP]
    runs = [
        (
            fast.encoder_step(hop, encoder)[0],
            fast.decoder_step(codes[:, :, :1], timbre, decoder)[0],
        )
        for _ in range(2)
    ]
    after = [t for state in (encoder, decoder) for t in tensors_of(state)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@torch.inference_mode()
def test_the_state_of_a_stream_is_small(fast: FastLive, speech: torch.Tensor) -> None:
    codes, encoder = fast.encoder_step(speech, fast.encoder_state())
    _, decoder = fast.decoder_step(codes, fast.encoder_timbre(encoder), fast.decoder_state())
    for states in ((encoder, decoder), (fast.encoder_state(), fast.decoder_state())):
        assert sum(map(state_bytes, states)) <= MOST_STATE


def _gone(*args: object, **options: object) -> None:
    raise RuntimeError("no TorchScript here")


@pytest.mark.law
@torch.inference_mode()
def test_steps_run_where_they_cannot_be_recorded(
    model: LiveModel, fast: FastLive, speech: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.jit, "trace", _gone)
    plain = FastLive(model, "float32")
    for steps in (plain, fast):
        state, codes = steps.encoder_state(), []
        for hop in speech[:, : 20 * HOP].split(HOP, dim=1):
            part, state = steps.encoder_step(hop, state)
            codes.append(part)
        assert_equal_codes(torch.cat(codes, 2), model, speech[:, : 20 * HOP])


@pytest.mark.law
@torch.inference_mode()
@pytest.mark.parametrize("how", ["native", "recorded", "as it is"])
def test_steps_in_place_equal_steps_by_copies(
    model: LiveModel, speech: torch.Tensor, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "native":
        need_compiled_code()
    if how == "as it is":
        monkeypatch.setattr(torch.jit, "trace", _gone)
    fast = FastLive(model, "native" if how == "native" else "float32")
    rows = torch.tensor([4, 1, 2])
    heard = torch.stack([speech[0, start : start + 20 * HOP] for start in (0, 4000, 8000)])
    encoder, encoders = fast.encoder_state(3), fast.encoder_state(5)
    codes, timbre = fast.encoder_step(heard[:, :HOP], fast.encoder_state(3))
    decoder = fast.decoder_step(codes, fast.encoder_timbre(encoder), fast.decoder_state(3))[1]
    own = unstack_state(decoder)
    decoders = stack_states([own[0], own[1], own[2], own[0], own[0]])
    for hop in heard.split(HOP, dim=1):
        codes, encoder = fast.encoder_step(hop, encoder)
        assert torch.equal(fast.encoder_step_in_place(hop, encoders, rows), codes)
        timbre = fast.encoder_timbre(encoder)
        assert torch.equal(fast.encoder_timbres(encoders, rows), timbre)
        sound, decoder = fast.decoder_step(codes, timbre, decoder)
        spoken = fast.decoder_step_in_place(codes, timbre, decoders, rows)
        assert_equal_audio(spoken, sound)
    untouched = [tensor[[0, 3]] for tensor in tensors_of(encoders)]
    fresh = tensors_of(fast.encoder_state(2))
    assert all(torch.equal(a, b) for a, b in zip(untouched, fresh, strict=True))


def test_24_bits_are_as_good_as_the_largest_number_needs() -> None:
    numbers = torch.randn(2, 6, 512, generator=torch.Generator().manual_seed(0)) * 30
    numbers[0, 0] = 0.0
    kept = Rounded.of(numbers)
    off = (kept.numbers() - numbers).abs().amax(2)
    assert (off <= numbers.abs().amax(2) * 2.0**-23).all()
    newest = torch.full((2, 1, 512), -7.25)
    later = kept.followed_by(newest).numbers()
    torch.testing.assert_close(later[:, -1:], newest, rtol=0, atol=1e-6)
    assert torch.equal(later[:, :-1], kept.numbers()[:, 1:])


@torch.inference_mode()
def test_pitch_statistics_weigh_voiced_frames_alone(fast: FastLive) -> None:
    state = fast.encoder_state()
    _, after = fast.encoder_step(torch.zeros(1, 5 * HOP), state)
    assert float(after.talker.pitches.sum()) == 0.0
    torch.testing.assert_close(fast.encoder_timbre(after), fast.encoder_timbre(state))
