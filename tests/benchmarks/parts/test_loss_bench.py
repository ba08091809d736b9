"""Lost packets of the benchmark: as many and as long in a row as asked for, and what is heard."""

from __future__ import annotations

import numpy as np

from benchmarks.parts.loss import BURST, SEAM, concealed, gilbert, later, never, silenced
from facodec.codec import Codec
from facodec.config import HOP


def test_as_many_packets_are_lost_in_bursts_as_asked_for() -> None:
    lost = gilbert(20_000, 0.1, BURST, seed=0)
    starts = np.flatnonzero(lost & ~np.r_[False, lost[:-1]])
    assert abs(lost.mean() - 0.1) < 0.01
    assert abs(lost.sum() / len(starts) - BURST) < 0.1
    assert not gilbert(100, 0.0, BURST, seed=0).any()


def test_a_gap_is_silent_and_what_is_concealed_is_not(live: Codec, hello: np.ndarray) -> None:
    frames = live.encode(hello[: 80 * HOP])
    lost = np.zeros(frames.codes.shape[1], bool)
    whole = concealed(live, frames, lost)
    assert np.array_equal(silenced(live, frames, lost)[SEAM:-SEAM], whole[SEAM:-SEAM])
    loudest = int(np.argmax(np.square(whole[: 72 * HOP]).reshape(-1, HOP)[8:].sum(1))) + 8
    lost[loudest : loudest + 2] = True
    start = loudest * HOP - (len(lost) * HOP - len(whole))  # the decoder looks ahead
    gap = slice(start + SEAM, start + 2 * HOP - SEAM)
    assert not silenced(live, frames, lost)[gap].any()
    assert np.square(concealed(live, frames, lost)[gap]).mean() > 0.1 * np.square(whole[gap]).mean()


def test_a_repeat_comes_where_the_packet_that_has_it_does() -> None:
    lost = np.array([0, 1, 1, 0, 0, 1, 0, 1, 0, 1], bool)
    assert later(lost, 2).tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert later(lost, 1).tolist() == [0, 0, 1, 0, 0, 1, 0, 1, 0, 0]
    assert not never(lost).any() and not later(lost, 20).any()


def test_what_was_repeated_is_nearer_to_what_was_said(live: Codec, hello: np.ndarray) -> None:
    frames = live.encode(hello[: 80 * HOP])
    lost = np.zeros(frames.codes.shape[1], bool)
    whole = concealed(live, frames, lost)
    lost[30:34] = True
    errors = [
        np.square(concealed(live, frames, lost, repeated) - whole).sum()
        for repeated in (None, lost)
    ]
    assert errors[1] < 0.5 * errors[0]
