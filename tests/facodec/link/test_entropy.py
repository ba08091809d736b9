"""The entropy coder gives back what went in, for any codes, and is the smaller for speech."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facodec
from facodec.bitstream import pack, packed_size
from facodec.codec import Codec
from facodec.identity import ModelIdentity
from facodec.link import arithmetic, native
from facodec.link.entropy import (
    TABLES,
    EntropyTables,
    FrameCoder,
    load_tables,
)
from facodec.link.native import SHARES
from facodec.reasons import FileError
from facodec.sound.reading import read_audio
from facodec.training import entropy as learning
from facodec.weights import bundled_path

DATA = Path(__file__).parents[2] / "data"
SPEECH = os.environ.get("FACODEC_SPEECH")
MODEL = ModelIdentity("live", "0" * 12)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return facodec.load("live")


@pytest.fixture(scope="module")
def tables(codec: Codec) -> EntropyTables:
    found = load_tables(bundled_path(), codec.identity)
    assert found is not None, "learn them anew: facodec train-entropy"
    return found


@pytest.fixture(scope="module")
def coder(tables: EntropyTables) -> FrameCoder:
    return FrameCoder(tables)


@pytest.fixture(scope="module")
def spoken(codec: Codec) -> np.ndarray:
    parts = [read_audio(DATA / name) for name in ("hello.flac", "reply.flac")]
    return np.concatenate([codec.encode(audio).codes for audio in parts], axis=1)


def packets(codes: np.ndarray, frames: int) -> list[np.ndarray]:
    return [codes[:, at : at + frames] for at in range(0, codes.shape[1], frames)]


def drawn(seed: int = 0) -> EntropyTables:
    """Tables that nothing was learned for, of every size that is allowed."""
    r = np.random.default_rng(seed)

    def small(*shape: int) -> np.ndarray:
        return r.integers(-127, 128, shape, dtype=np.int8)

    return EntropyTables(
        embeddings=small(6, 1025, 24),
        past=small(288, 192),
        present=small(6, 6, 24, 32),
        thresholds=r.integers(-4000, 4000, (6, 32), dtype=np.int32),
        words=small(6, 1024, 32),
        biases=r.integers(-4000, 4000, (6, 1024), dtype=np.int32),
        shares=np.array(
            [max(1, round(65536 * math.exp(-i / 64))) for i in range(SHARES)], np.int32
        ),
        model=np.frombuffer(str(MODEL).encode(), np.uint8),
    )


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 500), st.integers(0, 500)), max_size=40)
)
def test_arithmetic_coding_gives_back_symbols_in_the_fewest_bytes(
    symbols: list[tuple[int, int, int]],
) -> None:
    shares = [(start, width, start + width + rest) for start, width, rest in symbols]
    data = arithmetic.encode(shares)
    decoder = arithmetic.Decoder(data)
    for start, width, total in shares:
        assert start <= decoder.place(total) < start + width
        decoder.take(start, width, total)
    information = sum(math.log2(total / width) for _, width, total in shares)
    assert len(data) <= (information + 1e-6) / 8 + 1.125


@pytest.mark.parametrize("share", [(0, 0, 3), (2, 2, 3), (-1, 1, 3)])
def test_a_share_outside_its_total_is_refused(share: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected a share inside"):
        arithmetic.encode([share])


@pytest.mark.parametrize("frames", [1, 3, 4, 8, 80])
def test_speech_comes_back_bit_for_bit(coder: FrameCoder, spoken: np.ndarray, frames: int) -> None:
    for packet in packets(spoken, frames)[:60]:
        data = coder.encode(packet)
        assert np.array_equal(coder.decode(data, *packet.shape), packet)


@pytest.mark.native
@pytest.mark.parametrize("learned", [True, False])
def test_c_and_python_give_the_same_bytes(
    learned: bool, tables: EntropyTables, spoken: np.ndarray
) -> None:
    chosen = tables if learned else drawn(3)
    fast, plain = FrameCoder(chosen), FrameCoder(chosen, native=False)
    if not fast.is_fast:
        pytest.skip("missing: a C compiler")
    random = np.random.default_rng(1).integers(0, 1024, (6, 24))
    for packet in (*packets(spoken, 8)[:6], spoken[:3, 40:44], random, random[:4]):
        data = plain.encode(packet)
        assert fast.encode(packet) == data
        assert np.array_equal(fast.decode(data, *packet.shape), packet)
        assert np.array_equal(fast.cost(packet), plain.cost(packet))


def test_a_library_of_other_sizes_is_not_used(
    tables: EntropyTables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not FrameCoder(tables).is_fast:
        pytest.skip("missing: a C compiler")
    monkeypatch.setattr(native, "MOST_HIDDEN", native.MOST_HIDDEN + 1)
    assert not FrameCoder(tables).is_fast
    assert "expected sizes (72, 257, 1024, 2), got (72, 256, 1024, 2)" in caplog.text


@pytest.mark.native
def test_any_bytes_are_decoded_alike(tables: EntropyTables) -> None:
    fast, plain = FrameCoder(tables), FrameCoder(tables, native=False)
    for seed in range(20):
        data = np.random.default_rng(seed).bytes(seed)
        assert np.array_equal(fast.decode(data, 6, 4), plain.decode(data, 6, 4))


def test_speech_of_eight_frames_a_packet_takes_a_sixth_less(
    coder: FrameCoder, spoken: np.ndarray
) -> None:
    size = sum(len(coder.encode(packet)) for packet in packets(spoken, 8))
    assert 8 * size < 0.85 * 60 * spoken.shape[1]


@pytest.mark.skipif(not SPEECH, reason="FACODEC_SPEECH names no folder with valid/")
def test_lossless_and_smaller_over_all_speech_kept_apart(codec: Codec, coder: FrameCoder) -> None:
    size = frames = 0
    for path in sorted((Path(str(SPEECH)) / "valid").rglob("*.flac")):
        codes = codec.encode(read_audio(path)).codes
        for packet in packets(codes, 8):
            data = coder.encode(packet)
            assert np.array_equal(coder.decode(data, *packet.shape), packet)
            size += len(data)
        frames += codes.shape[1]
    assert 8 * size < 0.85 * 60 * frames


@settings(deadline=None, max_examples=50)
@given(layers=st.integers(3, 6), frames=st.integers(1, 12), seed=st.integers(0, 2**32))
def test_any_codes_come_back_and_take_no_more_than_plain_packing(
    layers: int, frames: int, seed: int
) -> None:
    coder = FrameCoder(drawn(seed % 3))
    codes = np.random.default_rng(seed).integers(0, 1024, (layers, frames))
    data = coder.encode(codes)
    assert len(data) <= packed_size(layers, frames)
    assert np.array_equal(coder.decode(data, layers, frames), codes)


@settings(deadline=None, max_examples=30)
@given(data=st.binary(max_size=59), frames=st.integers(1, 8))
def test_any_bytes_are_codes_or_a_value_error(data: bytes, frames: int) -> None:
    try:
        codes = FrameCoder(drawn()).decode(data, 6, frames)
    except ValueError:
        return
    assert codes.shape == (6, frames) and 0 <= codes.min() <= codes.max() < 1024


def test_each_packet_stands_alone(coder: FrameCoder, spoken: np.ndarray) -> None:
    alone = FrameCoder(load_tables(bundled_path()))
    packet = spoken[:, 40:48]
    assert alone.encode(packet) == coder.encode(packet)
    coder.encode(spoken[:, :40])
    assert alone.encode(packet) == coder.encode(packet)


def test_bytes_are_the_same_on_every_processor() -> None:
    codes = np.random.default_rng(7).integers(0, 1024, (6, 8))
    shares = FrameCoder(drawn())._predictor.shares(codes)  # type: ignore[union-attr]
    assert hashlib.sha256(json.dumps(shares).encode()).hexdigest()[:16] == "04d7f8b9d2904651"


def test_predictions_do_not_depend_on_the_order_of_sums(spoken: np.ndarray) -> None:
    tables = drawn()
    float32 = FrameCoder(tables, native=False)._predictor.shares(spoken[:, :8])  # type: ignore[union-attr]
    wide = FrameCoder(tables, native=False)._predictor
    for name in ("_embeddings", "_past", "_thresholds", "_words", "_biases"):
        setattr(wide, name, getattr(wide, name).astype(np.float64))
    assert wide is not None
    assert wide.shares(spoken[:, :8]) == float32


def test_without_tables_codes_are_packed_plainly(spoken: np.ndarray) -> None:
    plain, packet = FrameCoder(None), spoken[:, :8]
    assert plain.identity == ""
    assert plain.encode(packet) == pack(packet)
    assert np.array_equal(plain.decode(pack(packet), 6, 8), packet)
    with pytest.raises(ValueError, match="8 frames of 6 layers, got 59"):
        plain.decode(pack(packet)[:-1], 6, 8)


def test_tables_of_another_encoder_are_not_used(tmp_path: Path) -> None:
    drawn().save(tmp_path)
    assert load_tables(tmp_path, MODEL) is not None
    assert load_tables(tmp_path, ModelIdentity("live", "1" * 12)) is None
    assert load_tables(tmp_path / "nothing") is None


def test_damaged_tables_are_a_file_error(tmp_path: Path) -> None:
    drawn().save(tmp_path)
    path = tmp_path / TABLES
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileError, match="holds no tables"):
        load_tables(tmp_path)


def test_sums_that_float32_cannot_hold_are_refused() -> None:
    tables = drawn()
    with pytest.raises(ValueError, match="below 2\\^24"):
        replace(tables, biases=np.full((6, 1024), 1 << 24, np.int32))
    with pytest.raises(ValueError, match="do not rise"):
        replace(tables, shares=tables.shares[::-1].copy())


def test_learning_finds_what_follows_from_what(tmp_path: Path) -> None:
    from facodec.training.coded import CodedCorpus

    r = np.random.default_rng(0)
    first = r.integers(0, 8, 4000)
    codes = np.stack([first, 3 * first, *r.integers(0, 4, (4, 4000))], axis=1).astype(np.int16)
    corpus = CodedCorpus(
        np.zeros(0, np.int16),
        codes,
        np.zeros((1, 256), np.float32),
        np.array([0]),
        np.array([4000]),
        np.array([0]),
        ("a",),
        noisy=np.zeros(1, np.bool_),
        spoiled=np.zeros(0, np.int16),
    )
    tables = learning.learn(corpus, MODEL, steps=120)
    found = learning.measure(corpus, tables, 8)["information"]
    assert found[1] < 1.0 < found[0] < 5.0
