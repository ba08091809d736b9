"""Codes to bits and back, and the file they are kept in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facodec.bitstream import FacFile, pack, packed_size, unpack


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
    FacFile(codes, timbre, "live", 6_500).write(path)
    again = FacFile.read(path)
    assert np.array_equal(again.codes, codes) and np.array_equal(again.timbre, timbre)
    assert (again.model, again.samples) == ("live", 6_500)
    whole = path.read_bytes()
    for cut in (9, 40, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="damaged or cut short"):
            FacFile.read(path)
    path.write_bytes(b"RIFF" + whole)
    with pytest.raises(ValueError, match=r"not a \.fac file"):
        FacFile.read(path)
