"""The published model through what users call: loading, offline calls, streams of any chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import facodec
from facodec.codec import Codec
from facodec.config import HOP, TIMBRE_DIM
from facodec.published.model import Ns3Model
from tests.exactness import (
    assert_equal_audio,
    assert_equal_codes,
    assert_equal_numbers,
    assert_equal_speech,
)

Golden = dict[str, torch.Tensor]
Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def codec(small_ns3: Ns3Model) -> Codec:
    return Codec(small_ns3)


def noise(samples: int, seed: int = 0) -> Samples:
    return (0.3 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def voice(seed: int = 0) -> Samples:
    return np.random.default_rng(seed).standard_normal(TIMBRE_DIM).astype(np.float32)


def chunks(samples: Samples, sizes: list[int]) -> list[Samples]:
    return np.split(samples, np.minimum(np.cumsum(sizes, dtype=int), len(samples)).tolist())


def test_a_directory_of_official_files_is_a_codec(ns3_directory: Path, golden: Golden) -> None:
    codec = facodec.load(ns3_directory)
    assert codec.name == "ns3"
    assert codec.latency.total == 11_000
    frames = codec.encode(golden["wav_b"])
    assert_equal_codes(frames.codes, codec.model, golden["wav_b"])
    assert_equal_codes(golden["v1_b_codes"].long(), codec.model, golden["wav_b"])
    assert_equal_numbers(frames.timbre, golden["v1_b_timbre"])
    audio = codec.decode(golden["v1_b_codes"], golden["v1_b_timbre"])
    assert_equal_audio(audio, golden["v1_b_audio"])
    converted = codec.convert(golden["wav_a"], golden["v1_b_timbre"])
    assert_equal_audio(converted, golden["v1_a_to_b_noresidual_audio"])


@pytest.mark.law
@settings(max_examples=30, deadline=None)
@given(
    total=st.integers(1, 9_000),
    sizes=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 1_500)), max_size=30),
)
def test_an_encoder_stream_takes_any_chunks(codec: Codec, total: int, sizes: list[int]) -> None:
    audio, stream = noise(total, seed=total), codec.encoder_stream()
    parts = [stream.push(chunk) for chunk in chunks(audio, sizes)]
    codes = np.concatenate([*parts, stream.flush()], axis=1)
    assert_equal_codes(codes, codec.model, audio)


@settings(max_examples=20, deadline=None)
@given(turns=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 700)), max_size=60))
def test_interleaved_streams_of_samples(codec: Codec, turns: list[tuple[int, int]]) -> None:
    streams = [codec.encoder_stream() for _ in range(3)]
    heard = [np.zeros(0, dtype=np.float32) for _ in range(3)]
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for turn, (who, samples) in enumerate(turns):
        chunk = noise(samples, seed=turn)
        heard[who] = np.concatenate((heard[who], chunk))
        parts[who].append(streams[who].push(chunk))
    for stream, audio, codes in zip(streams, heard, parts, strict=True):
        codes.append(stream.flush())
        if len(audio):
            assert_equal_codes(np.concatenate(codes, axis=1), codec.model, audio)


@pytest.mark.law
def test_reset_starts_anew_and_a_snapshot_continues(codec: Codec) -> None:
    audio, encoder, decoder = noise(9_050), codec.encoder_stream(), codec.decoder_stream(voice())
    encoder.push(noise(777, seed=1))
    encoder.reset()
    head = encoder.push(audio[:6_033])
    spoken = decoder.push(head)
    kept = encoder.snapshot(), decoder.snapshot()
    rest = np.concatenate((encoder.push(audio[6_033:]), encoder.flush()), axis=1)
    tail = np.concatenate((decoder.push(rest), decoder.flush()))
    codes = np.concatenate((head, rest), axis=1)
    assert_equal_codes(codes, codec.model, audio)
    offline = codec.decode(codes, voice())
    assert_equal_audio(np.concatenate((spoken, tail)), offline)
    encoder.restore(kept[0])
    decoder.restore(kept[1])
    again = np.concatenate((encoder.push(audio[6_033:]), encoder.flush()), axis=1)
    assert np.array_equal(again, rest)
    assert np.array_equal(np.concatenate((decoder.push(again), decoder.flush())), tail)


@pytest.mark.law
def test_a_converter_stream_is_conversion(codec: Codec) -> None:
    audio, stream = noise(12_345), codec.converter_stream(voice(3))
    parts = [stream.push(chunk) for chunk in audio.reshape(-1, 15)]
    converted = np.concatenate([*parts, stream.flush()])
    assert_equal_speech(converted, lambda: codec.decode(codec.encode(audio).codes[:3], voice(3)))


def test_a_converter_stream_lags_by_the_stated_latency(codec: Codec) -> None:
    """Pushed hop by hop, the first audio comes with the very hop that completes the latency."""
    stream, hops = codec.converter_stream(voice()), codec.latency.total // HOP
    lengths = [len(stream.push(noise(HOP, seed=i))) for i in range(hops + 2)]
    assert lengths == [0] * (hops - 1) + [HOP] * 3
