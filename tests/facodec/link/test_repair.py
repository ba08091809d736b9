"""Frames in place of lost ones: what matters of them comes back, the rest is held or falls."""

from __future__ import annotations

import numpy as np
import pytest

from facodec.bundled.prosody import LEVELS
from facodec.codec import Codec
from facodec.link.concealment import FADE, HELD
from facodec.link.repair import (
    SPOKEN_ON,
    check_essence_size,
    pack_essence,
    spoken_on,
    unpack_essence,
    widened,
)

LAST = np.array([8 * 40 + 5, 11, 12, 13, 14, 15])


@pytest.mark.parametrize("coded", [False, True])
def test_prosody_and_content_come_back(live: Codec, hello: np.ndarray, coded: bool) -> None:
    codes = np.asarray(live.encode(hello[: 200 * 40]).codes)
    coder = live.coder if coded else None
    sizes = []
    for at in range(0, 40, 4):
        part = codes[:, at : at + 4]
        data = pack_essence(part, coder)
        check_essence_size(len(data), 4, coder)
        assert np.array_equal(unpack_essence(data, 4, coder), part[:3])
        sizes.append(len(data))
    assert set(sizes) == {15} if coder is None else max(sizes) <= 15 and np.mean(sizes) < 11


def test_a_size_that_cannot_be_is_named(live: Codec) -> None:
    for size, coder in ((14, None), (16, None), (16, live.coder)):
        with pytest.raises(ValueError, match=f"expected 15 bytes .* 4 frames, got {size}"):
            check_essence_size(size, 4, coder)


def test_detail_is_held_where_all_layers_are_wanted() -> None:
    essence = np.arange(6).reshape(3, 2)
    wide = widened(essence, LAST, 6)
    assert np.array_equal(wide[:3], essence)
    assert wide[3:].tolist() == [[13, 13], [14, 14], [15, 15]]
    assert np.array_equal(widened(essence, LAST[:3], 3), essence)
    assert widened(essence, None, 6)[3:].tolist() == [[0, 0]] * 3


def test_a_gap_is_spoken_on_ever_softer() -> None:
    made = spoken_on(LAST, SPOKEN_ON)
    levels = made[0] % LEVELS
    assert (np.diff(levels) <= 0).all() and levels[0] == 5 and levels[-1] == 2
    assert set(made[1].tolist()) == {11} and SPOKEN_ON == HELD + FADE
    assert spoken_on(LAST, 0).shape == (3, 0)


def test_of_a_model_whose_codes_say_no_level_the_last_frame_is_held() -> None:
    assert np.array_equal(spoken_on(LAST, 2, says_level=False), LAST[:3, None].repeat(2, 1))
    assert not spoken_on(None, 4).any()
