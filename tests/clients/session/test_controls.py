"""Keys and what they mean."""

from __future__ import annotations

import pytest

from clients.session.controls import KEYS, MOST_GAIN, Choice, Controls
from streaming.wire.protocol import MAX_SHIFT


def three() -> Controls:
    controls = Controls(Choice("own voice", None))
    controls.offer([Choice("hazel", "hazel"), Choice("rowan", "rowan"), Choice("hazel", "other")])
    return controls


def test_voices_go_round() -> None:
    controls = three()
    names = []
    for key in ("n", "right", "n", "p", "left"):
        assert controls.press(key)
        names.append(controls.chosen.name)
    assert names == ["hazel", "rowan", "own voice", "rowan", "hazel"]
    assert controls.chosen.voice == "hazel" and not controls.is_first and controls.has_others


def test_pitch_and_loudness_have_an_end() -> None:
    controls = three()
    for _ in range(40):
        controls.press("u")
        controls.press("-")
    assert (controls.shift, controls.gain) == (MAX_SHIFT, -MOST_GAIN)
    assert controls.factor == pytest.approx(10 ** (-24 / 20))
    for _ in range(50):
        controls.press("down")
        controls.press("=")
    assert (controls.shift, controls.gain) == (-MAX_SHIFT, MOST_GAIN)


def test_the_line_says_what_holds() -> None:
    controls = three()
    assert controls.as_line() == "own voice"
    for key in ("n", "u", "u", "+", "m"):
        controls.press(key)
    assert controls.as_line() == "hazel +2 st +1 dB muted"
    controls.press("b")
    assert controls.as_line() == "bypass +2 st +1 dB muted"
    for key in ("b", "m", "-", "d", "d"):
        controls.press(key)
    assert controls.as_line() == "hazel" and controls.factor == 1.0


def test_a_change_of_voice_can_be_taken_back() -> None:
    controls = three()
    before = controls.chosen
    controls.press("p")
    controls.press("u")
    controls.set_back(before, 0.0)
    assert controls.chosen is before and controls.shift == 0.0


def test_other_keys_mean_nothing() -> None:
    controls = three()
    assert not any(controls.press(key) for key in ("x", "N", "?", "\n", ""))
    assert controls.as_line() == "own voice" and "?" not in KEYS
