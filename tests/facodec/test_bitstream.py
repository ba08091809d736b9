"""Codes to bits and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facodec.bitstream import pack, packed_size, unpack


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
    with pytest.raises(ValueError, match="expected 8 bytes for 1 frames of 6 layers, got 7"):
        unpack(b"\0" * 7, 6, 1)
