"""Speech without detail codes is as loud as its codes say, in any voice, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest

from facodec.bundled.loudness import (
    DETAIL_MEMORY,
    MEMORY,
    POWERS,
    Loudness,
    Powers,
    forgets_level,
)
from facodec.bundled.prosody import LEVELS
from facodec.codec import Codec
from facodec.config import HOP, MIN_LAYERS
from facodec.streams.batching import run_alone
from facodec.streams.lines import DecoderLine
from facodec.training.metrics import level_change
from tests.exactness import assert_equal_audio
from tests.facodec.bundled.test_estimates import vowel


@pytest.mark.parametrize("gain", [0.25, 1.0])
def test_a_conversion_is_as_loud_as_its_source(
    live: Codec, hello: np.ndarray, reply: np.ndarray, gain: float
) -> None:
    for speech in (hello, reply):
        source = (gain * speech).astype(np.float32)
        for name, voice in live.voices.items():
            converted = live.convert(source, voice)[: len(source)]
            assert abs(level_change(source, converted)) < 1.5, name


def test_it_is_the_same_however_the_codes_are_cut(live: Codec, hello: np.ndarray) -> None:
    codes, voice = live.encode(hello).codes[:MIN_LAYERS], live.voices["cedar"]
    wanted = live.decode(codes, voice)
    stream, parts, at = live.decoder_stream(voice), [], 0
    for size in (1, 0, 2, 9, 3, 1, codes.shape[1]):
        parts.append(stream.push(codes[:, at : at + size]))
        at += size
        kept = stream.snapshot()
        stream = live.decoder_stream(voice)
        stream.restore(kept)
    parts.append(stream.flush())
    np.testing.assert_allclose(np.concatenate(parts), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("hertz", "layers"), [(300, 6), (440, 6), (440, 4), (440, 3)])
def test_a_high_vowel_keeps_its_level(live: Codec, hertz: float, layers: int) -> None:
    """Speech may lie anywhere in a step of 8 dB; without a gain it comes out 10 to 20 dB down."""
    sound = np.concatenate([vowel(hertz, 1.0), vowel(0.75 * hertz, 1.0), vowel(hertz, 1.0)])
    frames = live.encode(sound)
    spoken = live.decode(frames.codes[:layers], frames.timbre)
    note = slice(12_000, 16_000), slice(28_000, 32_000), slice(44_000, 48_000)
    assert all(abs(level_change(sound[part], spoken[part])) < 5.0 for part in note)


def test_a_held_level_is_the_same_however_the_codes_are_cut(live: Codec) -> None:
    frames = live.encode(np.concatenate([vowel(440, 0.5), vowel(330, 0.3)]))
    wanted = live.decode(frames.codes, frames.timbre)
    stream, parts = live.decoder_stream(frames.timbre), []
    for at in range(0, frames.codes.shape[1], 7):
        parts.append(stream.push(frames.codes[:, at : at + 7]))
        kept = stream.snapshot()
        stream = live.decoder_stream(frames.timbre)
        stream.restore(kept)
    parts.append(stream.flush())
    assert_equal_audio(np.concatenate(parts), wanted)
    work = DecoderLine(live.lanes, seed=0)
    batched = [
        run_alone(work.push(frames.codes, frames.timbre)),
        run_alone(work.flush(frames.timbre)),
    ]
    assert_equal_audio(np.concatenate(batched), wanted)


@pytest.mark.parametrize("gain", [0.03, 1.0])
@pytest.mark.parametrize("layers", [4, 6])
def test_speech_with_detail_codes_is_left_alone(
    live: Codec, hello: np.ndarray, reply: np.ndarray, gain: float, layers: int
) -> None:
    for speech in (hello, reply):
        frames = live.encode((gain * speech).astype(np.float32))
        codes = frames.codes[:layers]
        prepared = live.tensor_codes(codes), live.tensor_timbre(frames.timbre)
        bare = live.model.decode(*prepared)[0].numpy()
        assert np.array_equal(live.decode(codes, frames.timbre), bare)


def test_a_gain_never_jumps(live: Codec, hello: np.ndarray) -> None:
    """Detail codes that come and go change the gain over a hop, not between two samples."""
    frames = live.encode(hello)
    stream = live.decoder_stream(live.voices["cedar"])
    few, all_of_them = frames.codes[:MIN_LAYERS], frames.codes
    parts = [stream.push(few[:, :60]), stream.push(all_of_them[:, 60:70]), stream.push(few[:, 70:])]
    sound = np.concatenate(parts)
    steps = np.abs(np.diff(sound))
    edges = [len(parts[0]), len(parts[0]) + len(parts[1])]
    assert all(steps[e - 2 : e + 2].max() <= steps[e - HOP : e + HOP].max() for e in edges)


@pytest.mark.parametrize(
    ("layers", "memory", "wrong"), [(6, DETAIL_MEMORY, 15.0), (3, MEMORY, 8.0)]
)
def test_a_level_counts_as_forgotten_no_sooner_than_it_is(
    layers: int, memory: float, wrong: float
) -> None:
    """After the loudest there is, spoken too loud, comes what is quiet, and spoken too quietly;
    every third frame is unvoiced."""
    ratio = 10.0 ** (wrong / 10.0)
    loudest = Powers(memory * POWERS[-1], memory * POWERS[-1] * ratio, memory)
    old, new = Loudness(loudest, loudest, 0.5), Loudness()
    codes = np.full((layers, 8_000 if layers == MIN_LAYERS else 1_600), 40 * LEVELS + 3)
    codes[0, ::3] = 5
    hop = np.full(HOP, np.sqrt(POWERS[3] / ratio), np.float32)
    gains = []
    for frame in codes.T:
        old, new = (state.step(frame[:, None], hop)[1] for state in (old, new))
        gains.append((old.gain, new.gain))
    lengths = range(100, codes.shape[1], 100)
    forgotten = next(n for n in lengths if forgets_level(codes[:, :n]))
    before, after = np.array(gains).T
    np.testing.assert_allclose(before[forgotten:], after[forgotten:], rtol=2e-7)
    assert after[forgotten:].max() > 1.5, "there is a gain"
    assert np.abs(before / after - 1.0)[forgotten // 2 :].max() > 2e-7, "and it takes that long"
    assert not forgets_level(np.full((layers, 150), 5)), "nothing was compared"
