"""Positions of a room's frames in its recording."""

from __future__ import annotations

import itertools

import pytest

from facodec.recording.blocks import MOST_SAMPLES
from facodec.recording.timeline import Timeline

FRAME = 0.0125


def test_frames_lie_behind_each_other_whenever_they_arrive() -> None:
    """A network that stalls leaves no gap."""
    line = Timeline(1_000)
    arrivals = [(0, 0.0), (8, 0.1), (16, 7.0), (24, 7.0)]
    assert [line.place(seq, 8, None, now) for seq, now in arrivals] == [1_000, 2_600, 4_200, 5_800]
    assert line.place(40, 8, None, 7.1) == 7_400 + 8 * 200


def test_a_microphone_that_was_off_leaves_a_gap() -> None:
    line = Timeline()
    captured = [FRAME * 8 * n for n in range(1, 51)]
    captured += [captured[-1] + seconds + 3.0 for seconds in captured]
    starts = [line.place(8 * n, 8, at, at + 0.05) for n, at in enumerate(captured)]
    assert starts[:50] == [1_600 * n for n in range(50)]
    gap = starts[50] - starts[49] - 1_600
    assert gap == pytest.approx(3.0 * 16_000, abs=200)
    assert [b - a for a, b in itertools.pairwise(starts[50:])] == [1_600] * 49


def test_what_was_dropped_leaves_a_gap_though_few_packets_are_stamped() -> None:
    """A microphone over a link that stood still for 3 s."""
    line = Timeline()
    captured = [FRAME * 4 * n + 3.0 * (n > 40) for n in range(1, 101)]
    starts = [
        line.place(4 * n, 4, at if n % 16 == 0 else None, at + 0.05)
        for n, at in enumerate(captured)
    ]
    gaps = [b - a - 800 for a, b in itertools.pairwise(starts)]
    assert [n for n, gap in enumerate(gaps) if gap] == [47]
    assert gaps[47] == pytest.approx(3.0 * 16_000, abs=200)


def test_a_first_packet_that_waited_for_its_session_leaves_none() -> None:
    line = Timeline()
    line.place(0, 80, 0.0, 0.0)
    line.restart()
    begin = line.place(0, 4, 1.0, 9.0)
    starts = [
        line.place(4 * n, 4, 9.0 + 0.05 * n if n % 16 == 0 else None, 9.0 + 0.051 * n)
        for n in range(1, 60)
    ]
    assert starts == [begin + 800 * n for n in range(1, 60)]


def test_clocks_that_differ_leave_none() -> None:
    """200 parts in a million, for five hours."""
    line = Timeline()
    for n in range(0, 300_000, 8):
        assert line.place(8 * n, 64, 1.0002 * (8 * n + 64) * FRAME, n * 0.1) == 8 * n * 200


def test_a_file_that_comes_faster_than_speech_leaves_none() -> None:
    line = Timeline()
    assert [line.place(80 * n, 80, 5 + n * 0.01, n * 0.01) for n in range(4)] == [
        0, 16_000, 32_000, 48_000
    ]  # fmt: skip


@pytest.mark.parametrize("stamp", [1e308, 90_000.0, float("nan")])
def test_stamps_that_lie_make_no_gap_longer_than_was_waited(stamp: float) -> None:
    line = Timeline()
    line.place(0, 8, 0.0, 0.0)
    assert line.place(8, 8, stamp, 0.25) in (1_600, 1_600 + 4_000)
    assert line.place(16, 8, stamp + 0.1, 0.35) <= 3_200 + 4_000 + 1_600


def test_another_session_begins_after_the_time_that_nobody_spoke() -> None:
    line = Timeline()
    line.place(0, 80, 5.0, 1.0)
    line.restart()
    assert line.place(0, 8, 900.0, 4.1) == 16_000 + 3 * 16_000
    line.restart()
    assert line.place(500, 8, None, 4.1) == 16_000 + 3 * 16_000 + 1_600
    line.restart()
    line.place(0, 8, None, 100_000.0)
    assert line.full and line.position > MOST_SAMPLES
