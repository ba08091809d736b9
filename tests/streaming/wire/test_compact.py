"""Voices in 124 bytes: near what they were, whatever they are; nothing else is one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from facodec.codec import Codec
from streaming.wire.compact import COMPACT_BYTES, LEVELS, compact_voice, voice_from_compact
from streaming.wire.protocol import ProtocolError


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_bundled_voices_stay_alike(live: Codec) -> None:
    for voice in live.voices.values():
        exact = np.asarray(voice, np.float64)
        assert cosine(exact, voice_from_compact(compact_voice(exact))) > 0.989


@given(arrays(np.float32, 256, elements=st.floats(-1e4, 1e4, width=32)))
def test_any_voice_keeps_its_size(voice: np.ndarray) -> None:
    data = compact_voice(voice)
    back = voice_from_compact(data)
    assert len(data) == COMPACT_BYTES and np.isfinite(back).all()
    assert np.linalg.norm(back - voice) <= 0.5 * np.linalg.norm(voice) + 0.01


@pytest.mark.parametrize("voice", [np.ones(256), np.eye(256)[7], np.sin(np.arange(256) * 0.37)])
def test_regular_voices_are_no_exception(voice: np.ndarray) -> None:
    assert cosine(voice, voice_from_compact(compact_voice(voice))) > 0.985


def test_none_is_none() -> None:
    assert not voice_from_compact(compact_voice(np.zeros(256))).any()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(123),
        bytes(125),
        b"\x00\x7c" + bytes(122),  # infinite
        b"\x00\xbc" + bytes(122),  # -1
        b"\x00\x3c" + (LEVELS**256).to_bytes(122, "little"),
        b"\xff" * 124,
    ],
)
def test_what_is_no_voice_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="base 14"):
        voice_from_compact(data)
