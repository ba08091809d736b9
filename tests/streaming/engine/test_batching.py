"""Many streams in one tick: the same results as each alone, and nobody's trouble spreads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from facodec.codec import Codec
from facodec.config import HOP, Ns3Config
from facodec.published.model import Ns3Model
from facodec.streams import batching
from facodec.streams.batching import BUCKETS, Batcher, Decode, Encode, Failure, Work, bucket
from facodec.streams.lines import DecoderLine, EncoderLine
from streaming.engine.engine import Engine
from streaming.engine.pipeline import plan
from streaming.engine.streams import Outcome
from streaming.wire.media import Frames, Media, Sound, Timbre
from streaming.wire.protocol import Hello
from tests.exactness import assert_equal_audio, assert_equal_halves, assert_equal_speech


class Session:
    """One stream of an engine, and what it gave."""

    def __init__(self, engine: Engine, codec: Codec, hello: Hello, voice: Any = None) -> None:
        self.hello, self.voice = hello, voice
        self.outcomes: list[Outcome] = []
        make = plan(hello, codec, voice, 60.0)
        self.stream = engine.open(make, self.outcomes.append)
        self.alone = make()

    @property
    def media(self) -> list[Media]:
        return [item for outcome in self.outcomes for item in outcome.media]


def samples(media: Sequence[Media]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(i.samples for i in media if isinstance(i, Sound))])


def codes(media: Sequence[Media]) -> np.ndarray:
    parts = [item.codes for item in media if isinstance(item, Frames)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0))


def timbres(media: Sequence[Media]) -> list[np.ndarray]:
    return [item.vector for item in media if isinstance(item, Timbre)]


def standing() -> float:
    """A clock in which nothing takes any time: how fast this machine is decides nothing."""
    return 0.0


def run_all(works: Iterable[tuple[int, Work[Any]]]) -> dict[int, Any]:
    """Results of work that is run side by side."""
    batcher: Batcher[int, Any] = Batcher()
    found = dict(result for key, work in works for result in batcher.add(key, work))
    while batcher.order is not None:
        found |= dict(batcher.step())
    return found


def run_dry(engine: Engine) -> None:
    while engine.tick():
        pass


def cuts(count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).choice([1, 199, 200, 400, 1000, 2100], count).tolist()


@pytest.mark.law
def test_streams_of_all_roles_and_ages_together_equal_each_alone(
    live: Codec, hello: np.ndarray, reply: np.ndarray
) -> None:
    engine = Engine(clock=standing)
    voice, other = live.voice(hello), live.voice(reply)
    given = live.encode(reply).codes
    sessions = [
        Session(engine, live, Hello("encode", layers=4)),
        Session(engine, live, Hello("loopback"), voice),
        Session(engine, live, Hello("loopback", seed=5)),
        Session(engine, live, Hello("convert"), other),
        Session(engine, live, Hello("convert", output="codes"), other),
        Session(engine, live, Hello("decode", layers=3), voice),
        Session(engine, live, Hello("convert", "codes"), other),
        *(Session(engine, live, Hello("loopback", seed=i), other) for i in range(6)),
    ]
    fed: list[list[Media]] = [[] for _ in sessions]
    at = [0] * len(sessions)
    for tick, sizes in enumerate(zip(*(cuts(16, i) for i in range(len(sessions))), strict=True)):
        for i, session in enumerate(sessions):
            if tick < i % 5:  # they join one after the other
                continue
            item: Media
            if session.hello.formats()[0] == "pcm":
                item = Sound((hello, reply)[i % 2][at[i] : at[i] + sizes[i]])
                at[i] += sizes[i]
            else:
                frames = 1 + sizes[i] // HOP
                item = Frames(given[: session.hello.layers, at[i] : at[i] + frames])
                at[i] += frames
            items = [item]
            if tick == 9 and session.hello.role == "convert":
                items.insert(0, Timbre(-other, exact=True))
            for one in items:
                session.stream.submit(one)
            fed[i] += items
        engine.tick()
    for session in sessions:
        session.stream.end()
    run_dry(engine)
    assert engine.streams == 0
    for session, items in zip(sessions, fed, strict=True):
        wanted = [out for item in items for out in session.alone.push(item).media]
        wanted += session.alone.flush().media
        assert np.array_equal(codes(session.media), codes(wanted)), session.hello
        assert_equal_audio(samples(session.media), samples(wanted))
        assert len(timbres(session.media)) == len(timbres(wanted))
        for ours, theirs in zip(timbres(session.media), timbres(wanted), strict=True):
            assert_equal_halves(ours, theirs)


def test_streams_that_are_ready_together_share_their_steps(
    live: Codec, hello: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    answer = batching._answer

    def noted(kind: Any, requests: Any) -> Any:
        steps.append((kind.__name__, len(requests)))
        return answer(kind, requests)

    monkeypatch.setattr(batching, "_answer", noted)
    engine = Engine(clock=standing)
    sessions = [Session(engine, live, Hello("loopback"), live.voice(hello)) for _ in range(5)]
    for hop in range(3):
        for session in sessions:
            session.stream.submit(Sound(hello[hop * HOP : (hop + 1) * HOP]))
        steps.clear()
        engine.tick()
    assert steps == [("Encode", 5), ("Decode", 5)]


def test_who_is_on_time_goes_before_who_catches_up(live: Codec, hello: np.ndarray) -> None:
    order: list[str] = []
    engine = Engine(clock=standing)
    make = plan(Hello("loopback"), live, live.voice(hello), 60.0)
    late = engine.open(make, lambda outcome: order.append("late"))
    prompt = engine.open(make, lambda outcome: order.append("prompt"))
    late.submit(Sound(hello[: 8 * HOP]))
    prompt.submit(Sound(hello[:HOP]))
    engine.tick()
    assert order == ["prompt", "late"]


def test_bad_input_and_broken_state_end_their_stream_alone(live: Codec, hello: np.ndarray) -> None:
    voice = live.voice(hello)
    encoders = [EncoderLine(live.lanes) for _ in range(4)]
    hop = hello[4000 : 4000 + HOP]
    inputs = [hop, np.full(HOP, np.nan, np.float32), hop, hop * 1e6]
    works = [(i, e.push(x)) for i, (e, x) in enumerate(zip(encoders, inputs, strict=True))]
    found = run_all(works)
    assert [isinstance(found[i], Failure) for i in range(4)] == [False, True, False, True]
    assert np.array_equal(found[0], found[2])  # type: ignore[arg-type]

    decoders = [DecoderLine(live.lanes, 0) for _ in range(3)]
    given = live.encode(hello).codes[:, 100:101]
    for _ in range(2):
        poison = np.full(256, np.nan, np.float32)
        voices = [voice, poison, voice]  # past the check that a pipeline makes
        pushed = [
            (i, d.push(given, v)) for i, (d, v) in enumerate(zip(decoders, voices, strict=True))
        ]
        sounds = run_all(pushed)
    assert isinstance(sounds[1], Failure)
    assert np.array_equal(sounds[0], sounds[2])  # type: ignore[arg-type]
    assert np.isfinite(sounds[0]).all()  # type: ignore[arg-type]


def test_a_step_that_fails_for_many_is_tried_for_each(
    live: Codec, hello: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders = [EncoderLine(live.lanes) for _ in range(3)]
    encode = type(live.lanes).encode

    def fails_for_the_second(self: Any, lanes: Any, audio: Any, size: int) -> Any:
        if encoders[1]._lane in lanes:
            raise RuntimeError("cannot")
        return encode(self, lanes, audio, size)

    monkeypatch.setattr(type(live.lanes), "encode", fails_for_the_second)
    found = run_all((i, e.push(hello[:HOP])) for i, e in enumerate(encoders))
    assert [isinstance(found[i], Failure) for i in range(3)] == [False, True, False]


@pytest.mark.law
def test_the_published_model_batches_streams_in_the_same_phase() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = Codec(Ns3Model(Ns3Config.small()))
    sound = (0.1 * np.random.default_rng(0).standard_normal((3, 60 * HOP))).astype(np.float32)
    voice = codec.voice(sound[0])
    engine = Engine(clock=standing)
    sessions = [Session(engine, codec, Hello("loopback"), voice) for _ in sound]
    for hop in range(60):
        for row, session in enumerate(sessions):
            if hop >= 5 * row:
                start = (hop - 5 * row) * HOP
                session.stream.submit(Sound(sound[row, start : start + HOP]))
        engine.tick()
    for session in sessions:
        session.stream.end()
    run_dry(engine)
    for row, session in enumerate(sessions):
        heard = sound[row, : (60 - 5 * row) * HOP]
        assert_equal_speech(
            samples(session.media).astype(np.float32),
            lambda heard=heard: codec.decode(codec.encode(heard).codes, voice),
        )


def test_buckets_hold_what_they_are_asked_to() -> None:
    assert [bucket(n) for n in (1, 5, 9, 64)] == [1, 6, 12, 64]
    assert all(bucket(size) == size for size in BUCKETS)


def test_more_streams_than_the_largest_batch(live: Codec, hello: np.ndarray) -> None:
    encoders = [EncoderLine(live.lanes) for _ in range(BUCKETS[-1] + 3)]
    found = run_all((i, e.push(hello[8000 : 8000 + HOP])) for i, e in enumerate(encoders))
    wanted = live.encoder_stream().push(hello[8000 : 8000 + HOP])
    assert all(np.array_equal(codes, wanted) for codes in found.values())  # type: ignore[arg-type]


def test_requests_that_differ_do_not_mix(live: Codec) -> None:
    lanes = live.lanes
    encoder, decoder = lanes.open_encoder(), lanes.open_decoder()
    short = Encode(lanes, encoder, np.zeros(HOP, np.float32))
    long = Encode(lanes, encoder, np.zeros(8 * HOP, np.float32))
    decode = Decode(lanes, decoder, np.zeros((6, 1), np.int64), np.zeros(256, np.float32))
    assert short.group != long.group and short.frames == decode.frames == 1
    assert short.rank < decode.rank
