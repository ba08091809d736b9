"""Files at the pace of speech, with a fake clock."""

from __future__ import annotations

import pytest

from clients.audio.pace import LATE, Pacer


def test_each_block_is_due_when_it_would_have_been_spoken() -> None:
    pacer = Pacer(start=100.0, rate=16000)
    assert pacer.spoken(200, now=100.0) == pytest.approx(100.0125)
    assert pacer.spoken(200, now=100.0125) == pytest.approx(100.025)
    assert pacer.spoken(1600, now=100.03) == pytest.approx(100.125)


def test_a_small_delay_is_caught_up() -> None:
    pacer = Pacer(start=0.0, rate=1000)
    assert pacer.spoken(100, now=0.0) == pytest.approx(0.1)
    assert pacer.spoken(100, now=0.5) == pytest.approx(0.2)  # late: send at once
    assert pacer.spoken(100, now=0.5) == pytest.approx(0.3)


def test_a_long_interruption_starts_the_schedule_anew() -> None:
    pacer = Pacer(start=0.0, rate=1000)
    pacer.spoken(100, now=0.0)
    late = 0.2 + LATE + 5
    assert pacer.spoken(100, now=late) == late
    assert pacer.spoken(100, now=late) == pytest.approx(late + 0.1)


def test_an_hour_does_not_drift() -> None:
    pacer = Pacer(start=0.0, rate=16000)
    due = 0.0
    for _ in range(80 * 3600):
        due = pacer.spoken(200, now=due)
    assert due == pytest.approx(3600.0, abs=1e-6)
