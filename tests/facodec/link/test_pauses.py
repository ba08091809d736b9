"""Frames in place of those that were not sent in a pause."""

from __future__ import annotations

import numpy as np

from facodec.bundled.prosody import LEVELS
from facodec.link.pauses import HELD, MEMORY, pause_frames

PITCH = 5 * LEVELS
"""Part of a prosody code that is voiced."""


def before(*levels: int) -> np.ndarray:
    """Voiced frames of such levels, each with its place as other codes."""
    places = np.arange(len(levels))
    return np.stack([PITCH + np.array(levels), *[places] * 5])


def places(frames: np.ndarray) -> set[int]:
    return set(frames[1].tolist())


def test_the_quietest_frames_are_said_again_without_pitch() -> None:
    frames = pause_frames(before(5, 4, 2, 3, 2, 5, 5, 5, 5, 5, 5, 5), 100, 64)
    assert places(frames) == {2, 4}
    assert set(frames[0].tolist()) == {2}


def test_noise_between_two_levels_has_both_where_it_is_sure_to_be_noise() -> None:
    levels = [3] * (MEMORY - HELD - 1) + [2, 3, 3, 2, 3]
    frames = pause_frames(before(*levels), 7, 400)
    assert places(frames) == {MEMORY - HELD - 1, *range(MEMORY - HELD, MEMORY)}
    louder = (frames[0] == 3).mean()
    assert 0.5 < louder < 0.7  # three of five


def test_frames_depend_on_their_place_alone() -> None:
    known = before(*[2, 1, 1, 2] * 3)
    whole = pause_frames(known, 40, 50)
    parts = [pause_frames(known, 40 + at, 10) for at in range(0, 50, 10)]
    assert np.array_equal(whole, np.concatenate(parts, axis=1))


def test_before_the_first_frame_there_is_silence() -> None:
    assert not pause_frames(np.zeros((6, 0), np.int64), 0, 3).any()
