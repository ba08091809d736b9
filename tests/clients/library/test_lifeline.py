"""Times at which a lost connection is tried again; the rest is in
tests/system/test_survival.py."""

from __future__ import annotations

from clients.library.exchange import LOOK_EVERY, SILENCE
from clients.library.lifeline import WITHIN, Returning
from clients.library.silence import Silence, Standstill


def test_it_is_tried_at_once_then_less_often_for_half_a_minute() -> None:
    now, waits = 50.0, []
    returning = Returning(now)
    while (wait := returning.wait(now)) is not None:
        waits.append(wait)
        now += wait + 0.1
    assert waits[:5] == [0.0, 0.25, 0.5, 1.0, 2.0] and set(waits[5:]) == {2.0}
    assert 27.0 < now - 50.0 < WITHIN


def test_a_try_takes_no_longer_than_there_is_time() -> None:
    returning = Returning(0.0)
    assert returning.patience(0.0) == 10.0
    assert returning.patience(25.0) == 5.0
    assert returning.patience(40.0) == 0.0


def test_a_server_that_is_gone_is_found_within_20_seconds() -> None:
    silence, now = Silence(SILENCE, 0.0), 0.0
    while not silence.is_too_long(now, heard=now < 10.0):
        now += LOOK_EVERY
    assert 12.0 <= now - 10.0 < 14.0


def test_a_link_that_is_slow_brings_something() -> None:
    standstill, received = Standstill(30.0, 0.0, 0), 0
    for second in range(1, 1000):
        received += 1_400 if second % 11 == 0 else 0  # a kilobit a second
        assert not standstill.is_too_long(float(second), received)


def test_signs_of_life_are_not_what_is_waited_for() -> None:
    standstill, received, now = Standstill(30.0, 0.0, 0), 0, 0.0
    while not standstill.is_too_long(now, received):
        now += 1.0
        received += 30
    assert 30.0 < now < 32.0
