"""Gate, mute, gain and one's own voice: nothing clicks, and nothing is touched for nothing."""

from __future__ import annotations

import numpy as np
import pytest

from clients.session.controls import Choice, Controls
from clients.session.shaping import (
    CLOSING,
    HANG_OVER,
    KEPT,
    OPENING,
    RAMP,
    Glide,
    NoiseGate,
    Said,
    Shaping,
)
from facodec.config import HOP, SAMPLE_RATE

TONE = np.sin(2 * np.pi * 200 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32) / 2
STEP = float(np.abs(np.diff(TONE)).max())
"""The largest step from sample to sample in the tone."""


def controls() -> Controls:
    return Controls(Choice("own voice", None))


def step_of(sound: np.ndarray) -> float:
    return float(np.abs(np.diff(sound)).max())


def test_a_glide_arrives_and_then_is_a_number() -> None:
    glide = Glide(1.0)
    assert glide.take(3) == 1.0
    glide.move(0.0)
    way = np.concatenate([np.atleast_1d(glide.take(count)) for count in (1, 0, 70, RAMP)])
    assert np.all(np.diff(way[:RAMP]) < 0) and step_of(way) <= 1 / RAMP + 1e-6
    assert glide.take(5) == 0.0
    glide.move(2.0)
    assert np.asarray(glide.take(50))[-1] < 2.0
    glide.move(0.0)
    assert np.asarray(glide.take(2 * RAMP)).min() == 0.0


def test_what_nobody_changed_is_not_touched() -> None:
    shaping = Shaping(controls())
    shaping.begin()
    assert shaping.to_send(TONE) is TONE
    assert shaping.to_hear(TONE) is TONE


@pytest.mark.parametrize("cut", [HOP, 777])
@pytest.mark.parametrize("key", ["m", "b", "+", "-"])
def test_no_key_clicks(key: str, cut: int) -> None:
    """A voice that comes back upside down: as far from one's own as can be."""
    pressed = controls()
    shaping = Shaping(pressed)
    shaping.begin()
    heard = []
    for start in range(0, SAMPLE_RATE, cut):
        if start // cut in (8, 12):
            pressed.press(key)
        said = shaping.to_send(TONE[start : start + cut])
        shaping.sent(said)
        heard.append(shaping.to_hear(-said))
    sound = np.concatenate(heard)
    assert step_of(sound) < 1.3 * STEP + 1 / RAMP
    changed = sound[8 * cut + RAMP : 12 * cut]
    wanted = {"m": 0.0, "b": 1.0, "+": -(10**0.05), "-": -(10**-0.05)}[key]
    np.testing.assert_allclose(changed, wanted * TONE[8 * cut + RAMP : 12 * cut], atol=1e-6)
    if key in "mb":
        np.testing.assert_array_equal(sound[12 * cut + RAMP :], -TONE[12 * cut + RAMP :])


def test_one_session_fades_out_and_the_next_in() -> None:
    shaping = Shaping(controls())
    shaping.begin()
    parts = [shaping.to_hear(TONE[:HOP])]
    shaping.leave()
    parts += [shaping.to_hear(TONE[HOP : 2 * HOP]), shaping.to_hear(TONE[2 * HOP : 3 * HOP])]
    assert not parts[-1].any()
    shaping.begin()
    parts += [shaping.to_hear(TONE[start : start + HOP]) for start in (3 * HOP, 4 * HOP)]
    np.testing.assert_array_equal(parts[-1], TONE[4 * HOP : 5 * HOP])
    assert step_of(np.concatenate(parts)) < STEP + 1 / RAMP


def test_gain_stays_within_full_scale() -> None:
    shaping = Shaping(Controls(Choice("own voice", None), gain=24.0))
    shaping.begin()
    loud = shaping.to_hear(TONE)
    assert loud.dtype == np.float32 and np.abs(loud).max() == 1.0


def test_ones_own_voice_comes_from_its_place() -> None:
    """Frames that were dropped on their way never come back."""
    pressed = controls()
    pressed.press("b")
    shaping = Shaping(pressed)
    shaping.begin()
    for start in range(0, 8 * HOP, HOP):
        shaping.sent(TONE[start : start + HOP])
        if start == 5 * HOP:
            shaping.dropped(HOP)
    heard = np.concatenate([shaping.to_hear(np.ones(HOP, np.float32)) for _ in range(8)])
    kept = np.concatenate([TONE[: 5 * HOP], TONE[6 * HOP : 8 * HOP], np.zeros(HOP, np.float32)])
    np.testing.assert_array_equal(heard, kept)


def test_what_was_said_is_remembered_for_a_while() -> None:
    said = Said()
    long = np.arange(KEPT + 3 * HOP, dtype=np.float32)
    said.put(long[:HOP])
    said.put(long[HOP:])
    np.testing.assert_array_equal(said.get(KEPT, 3 * HOP), long[KEPT:])
    assert not said.get(0, HOP).any() and not said.get(len(long), HOP).any()
    np.testing.assert_array_equal(said.get(len(long) - 5, 10)[:5], long[-5:])
    said.clear()
    assert not said.get(0, 10).any()


@pytest.mark.parametrize("cut", [HOP, 16 * HOP])
def test_the_gate_makes_silence_of_noise_and_waits_for_nothing(cut: int) -> None:
    rng = np.random.default_rng(0)
    sound = rng.uniform(-1e-3, 1e-3, 4 * SAMPLE_RATE).astype(np.float32)
    start, end = 100 * HOP, 120 * HOP
    sound[start:end] += TONE[: end - start]
    gate = NoiseGate(-50.0)
    out = np.concatenate([gate.push(sound[at : at + cut]) for at in range(0, len(sound), cut)])
    assert not out[:start].any()
    is_open = slice(start + OPENING, end + HANG_OVER)
    np.testing.assert_array_equal(out[is_open], sound[is_open])
    assert not out[end + HANG_OVER + CLOSING + HOP :].any()
    assert step_of(out) < 1.3 * step_of(sound)


def test_a_gate_that_nothing_is_below_leaves_the_sound_alone() -> None:
    gate = NoiseGate(-90.0)
    gate.push(TONE[:HOP])
    np.testing.assert_array_equal(gate.push(TONE[HOP:]), TONE[HOP:])
    assert len(gate.push(TONE[:0])) == 0


def test_mute_silences_what_is_sent_after_the_gate() -> None:
    pressed = controls()
    shaping = Shaping(pressed, gate=-60.0)
    shaping.begin()
    assert shaping.to_send(TONE[:HOP]).any()
    pressed.press("m")
    shaping.to_send(TONE[:HOP])
    assert not shaping.to_send(TONE[:HOP]).any()
