"""Devices that count as gone; the time is passed in."""

from __future__ import annotations

from clients.audio.heartbeat import SILENCE_MEANS_LOST, Heartbeat


def test_a_device_that_calls_is_there() -> None:
    heartbeat = Heartbeat(0.0)
    for index in range(1000):
        heartbeat.beat()
        assert not heartbeat.lost(index * 0.0125)


def test_a_silent_device_is_lost_after_a_while() -> None:
    heartbeat = Heartbeat(0.0)
    looks = [index * 0.1 for index in range(40)]
    lost = [heartbeat.lost(now) for now in looks]
    assert not any(gone for gone, now in zip(lost, looks, strict=True) if now < SILENCE_MEANS_LOST)
    assert lost[-1]


def test_a_program_that_was_stopped_does_not_blame_the_device() -> None:
    heartbeat = Heartbeat(0.0)
    heartbeat.beat()
    assert not heartbeat.lost(0.1)
    assert not heartbeat.lost(3600.0)
    heartbeat.beat()
    assert not heartbeat.lost(3600.1)
