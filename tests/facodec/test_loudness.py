"""Speech without detail codes is as loud as its codes say, in any voice, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest

from facodec.codec import Codec
from facodec.config import HOP, MIN_LAYERS
from facodec.training.metrics import level_change


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


def test_with_detail_codes_the_level_is_left_alone(live: Codec, hello: np.ndarray) -> None:
    frames = live.encode(hello)
    spoken = live.decode(frames.codes, frames.timbre)
    prepared = live.tensor_codes(frames.codes), live.tensor_timbre(frames.timbre)
    assert np.array_equal(spoken, live.model.decode(*prepared)[0].numpy())


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
