"""Codes to bits and back, and the file they are kept in."""

from __future__ import annotations

import struct
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facodec.bitstream import FacFile, pack, packed_size, unpack
from facodec.files import FileError
from facodec.identity import ModelIdentity, model_of

LIVE = ModelIdentity("live", "0123456789ab")


@given(layers=st.integers(3, 6), frames=st.integers(0, 20), seed=st.integers(0, 99))
def test_packing_is_reversible_and_tight(layers: int, frames: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1024, (layers, frames))
    data = pack(codes)
    assert len(data) == packed_size(layers, frames) == -(-layers * frames * 10 // 8)
    assert np.array_equal(unpack(data, layers, frames), codes)


def test_bit_order() -> None:
    """Most significant bit first, codes of one frame side by side."""
    codes = np.array([[0b1000000001], [0], [0b1111111111], [0], [0], [1]])
    bits = "1000000001" + "0" * 10 + "1" * 10 + "0" * 20 + "0000000001" + "0000"
    assert pack(codes) == int(bits, 2).to_bytes(8, "big")


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="7 bytes of codes: 1 frames of 6 layers take 8"):
        unpack(b"\0" * 7, 6, 1)


def test_file_round_trip_and_damage(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 1024, (6, 33))
    timbre = random.standard_normal(256).astype(np.float32)
    path = tmp_path / "a.fac"
    FacFile(codes, timbre, LIVE, 6_500).write(path)
    again = FacFile.read(path)
    assert np.array_equal(again.codes, codes) and np.array_equal(again.timbre, timbre)
    assert (again.model, again.samples) == (LIVE, 6_500)
    whole = path.read_bytes()
    for cut in (9, 40, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="damaged or cut short"):
            FacFile.read(path)
    path.write_bytes(b"RIFF" + whole)
    with pytest.raises(ValueError, match=r"not a \.fac file"):
        FacFile.read(path)


def saved(path: Path, **changes: object) -> bytes:
    """A file of the first version, which has no checksum, with other fields in its header."""
    codes = np.arange(6 * 8).reshape(6, 8)
    header = {
        "model": "live", "layers": 6, "frames": 8, "samples": 1_600,
        "timbre": np.zeros(256, "<f4").tobytes(), **changes,
    }  # fmt: skip
    packed = msgpack.packb({name: value for name, value in header.items() if value is not None})
    data = b"FACODEC\x01" + struct.pack("<I", len(packed)) + packed + pack(codes)
    path.write_bytes(data)
    return data


def test_files_of_the_first_version_are_read(tmp_path: Path) -> None:
    saved(tmp_path / "a.fac")
    again = FacFile.read(tmp_path / "a.fac")
    assert np.array_equal(again.codes, np.arange(48).reshape(6, 8)) and again.samples == 1_600
    assert again.model == ModelIdentity("live")


def test_a_file_says_its_model_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.fac"
    FacFile(np.zeros((3, 1), np.int64), np.zeros(256, np.float32), LIVE, 200).write(path)
    data = path.read_bytes()
    told = b"\xa8identity\xb1live@0123456789ab"
    assert data.startswith(b"FACODEC\x02") and told in data and b"\xa5model\xa4live" in data
    again = FacFile.read(path)
    assert model_of(again.codes) == model_of(again.timbre) == again.model == LIVE


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"timbre": np.full(256, np.nan, "<f4").tobytes()}, "finite numbers"),
        ({"timbre": np.full(256, np.inf, "<f4").tobytes()}, "finite numbers"),
        ({"timbre": "x" * 1024}, "timbre as bytes"),
        ({"timbre": b"short"}, "256 floats, got 5 bytes"),
        ({"samples": float("inf")}, "expected 1 to 1600 samples, got inf"),
        ({"samples": 1_601}, "got 1601"),
        ({"samples": -1}, "got -1"),
        ({"frames": 1 << 40}, "frames, got"),
        ({"layers": 2}, "expected 3 to 6 layers"),
        ({"layers": True}, "got True"),
        ({"model": b"live"}, "name of a model"),
        ({"model": None}, "no 'model'"),
        ({"identity": "ns3@0123456789ab"}, "identity of model 'live', got ns3@0123456789ab"),
        ({"identity": "live@0123"}, "model like live@"),
        ({"identity": 3}, "model like live@"),
    ],
)
def test_headers_that_cannot_be(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    saved(tmp_path / "a.fac", **changes)
    with pytest.raises(FileError, match=rf"a\.fac is damaged.*{sentence}"):
        FacFile.read(tmp_path / "a.fac")


def test_any_damage_of_a_file_is_noticed_and_named(tmp_path: Path) -> None:
    """Every bit of the whole file, and every cut."""
    path = tmp_path / "a.fac"
    timbre = np.linspace(-1, 1, 256).astype(np.float32)
    FacFile(np.arange(48).reshape(6, 8), timbre, LIVE, 1_600).write(path)
    whole = path.read_bytes()
    changed = [
        whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
        for at in range(len(whole))
        for bit in (0, 7)
    ]
    for data in (*changed, *(whole[:cut] for cut in range(len(whole))), whole + b"\0"):
        path.write_bytes(data)
        with pytest.raises(FileError, match=r"a\.fac is (damaged|not a \.fac file)"):
            FacFile.read(path)


def test_blocks_of_a_long_file(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 1024, (5, 20_001))
    FacFile(codes, np.zeros(256, np.float32), LIVE, 4_000_000).write(tmp_path / "a.fac")
    assert np.array_equal(FacFile.read(tmp_path / "a.fac").codes, codes)
