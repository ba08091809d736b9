"""Sound that a listener's link does not take in time is left out; with a fake link and clock."""

from __future__ import annotations

import numpy as np
import pytest

from facodec.config import HOP, SAMPLE_RATE
from streaming.server.downlink import Downlink
from streaming.wire.media import Frames, Joined, Media, Pause, Reduced, Sound, Timbre

PERIOD = 4 * HOP / SAMPLE_RATE
SIZE = 40


class Link:
    """Takes messages ``delay`` s after they were sent, none within ``outage``."""

    def __init__(self, delay: float, outage: tuple[float, float] = (0.0, 0.0)) -> None:
        self.now = 0.0
        self.sent = 0
        self.left_out: list[int] = []
        self.downlink = Downlink(
            lambda: self.sent, self._outstanding, self.left_out.append, lambda: self.now
        )
        self._delay, self._outage = delay, outage
        self._sent: list[tuple[float, int]] = []

    def send(self, item: Media) -> Media | None:
        """Sends an item; returns what goes out, None for nothing."""
        taken = self.downlink.take(item)
        for _ in taken:
            begin, end = self._outage
            at = end if begin <= self.now < end else self.now
            self._sent.append((at + self._delay, SIZE))
            self.sent += SIZE
        return taken[-1] if taken else None

    def _outstanding(self) -> int:
        return sum(size for at, size in self._sent if at > self.now)


class NarrowLink:
    """Takes ``rate`` bit/s from ``since`` on, 1 Mbit/s before; codes go in 10 bits each, and 61
    bytes beside them."""

    def __init__(self, rate: float, since: float = 0.0, until: float = 1e9) -> None:
        self.now = 0.0
        self.packets: list[Frames] = []
        self.lags: list[float] = []
        self.left_out: list[int] = []
        self._rate, self._since, self._until = rate, since, until
        self._sent, self._free_at = 0, 0.0
        self._taken: list[tuple[float, int]] = []
        self.downlink = Downlink(
            lambda: self._sent,
            lambda: sum(size for at, size in self._taken if at > self.now),
            self.left_out.append,
            lambda: self.now,
            may_leave_out_detail=True,
        )

    def send(self, item: Frames) -> None:
        for kept in self.downlink.take(item):
            assert isinstance(kept, Frames)
            size = 61 + -(-10 * kept.heard.size // 8)
            narrow = self._since <= self.now < self._until
            rate = self._rate if narrow else 1e6
            self._free_at = max(self.now, self._free_at) + 8 * size / rate
            self._taken.append((self._free_at + 0.04, size))
            self._sent += size
            self.packets.append(kept)
            self.lags.append(self._free_at - self.now)

    def talk(self, seconds: float) -> None:
        for index in range(int(seconds / PERIOD)):
            self.now = index * PERIOD
            self.send(frames())


def test_a_slow_link_gets_longer_packets_and_then_no_detail() -> None:
    link = NarrowLink(8e3)
    link.talk(30.0)
    assert link.packets[0].frames == 4
    assert {int(each.frames) for each in link.packets[-20:]} <= {8, 16}
    assert all(isinstance(each, Reduced) for each in link.packets[-20:])
    assert max(link.lags[40:]) < 0.4 and sum(link.left_out) < 0.05 * 30 * 80


def test_joined_packets_hold_what_was_not_left_out_in_order() -> None:
    link = NarrowLink(11e3)
    for index in range(200):
        link.now = index * PERIOD
        link.send(Frames(np.full((6, 4), index)))
    last = [each for each in link.downlink.flush() if isinstance(each, Frames)]
    heard = np.concatenate([each.codes[0] for each in (*link.packets, *last)])
    assert (np.diff(heard) >= 0).all() and (np.unique(heard, return_counts=True)[1] == 4).all()
    assert len(heard) + sum(link.left_out) == 800 and sum(link.left_out) < 80
    assert any(isinstance(each, Joined) for each in link.packets)


def test_steps_are_taken_back_when_the_link_is_good_again() -> None:
    link = NarrowLink(8e3, until=10.0)
    link.talk(60.0)
    assert not isinstance(link.packets[-1], Reduced) and link.packets[-1].frames == 4


def frames() -> Frames:
    return Frames(np.zeros((6, 4), np.int64))


@pytest.mark.parametrize("delay", [0.001, 0.04, 0.2])
def test_all_is_sent_over_a_link_that_keeps_up(delay: float) -> None:
    link = Link(delay)
    for index in range(400):
        link.now = index * PERIOD
        assert link.send(frames()) is not None


@pytest.mark.parametrize("length", [1.0, 5.0])
def test_while_nothing_is_taken_nothing_more_is_sent(length: float) -> None:
    link = Link(0.04, (5.0, 5.0 + length))
    sent = []
    for index in range(int((10 + length) / PERIOD)):
        link.now = index * PERIOD
        if link.send(frames()) is not None:
            sent.append(link.now)
    meanwhile = [at for at in sent if 5.0 <= at < 5.0 + length]
    assert len(meanwhile) * PERIOD < 0.5
    after = [at for at in sent if at >= 5.0 + length]
    assert after[0] < 5.25 + length and len(after) > 0.95 * (10 + length - after[0]) / PERIOD


def test_voices_and_pauses_go_out_all_the_same() -> None:
    link = Link(10.0)
    pause = Pause(0, 4, (), 6, bytes(5))
    voice = Timbre(np.zeros(256, np.float32), exact=False)
    kept: list[Media | None] = []
    for index in range(40):
        link.now = index * PERIOD
        kept = [link.send(item) for item in (frames(), pause, voice)]
    assert kept == [None, pause, voice] and sum(link.left_out) > 80


def test_where_sound_was_left_out_is_no_jump() -> None:
    link = Link(0.04, (1.0, 2.0))
    heard = []
    for index in range(int(4 / PERIOD)):
        link.now = index * PERIOD
        times = np.arange(4 * HOP) / SAMPLE_RATE + link.now
        said = Sound((0.5 * np.sin(2 * np.pi * 150.3 * times)).astype(np.float32))
        kept = link.send(said)
        if isinstance(kept, Sound):
            heard.append(kept.samples)
            assert index < 10 or kept.samples is said.samples or link.now > 2
    sound = np.concatenate(heard)
    assert len(sound) < 3.5 * SAMPLE_RATE
    assert np.abs(np.diff(sound)).max() < 3 * 0.5 * 2 * np.pi * 150.3 / SAMPLE_RATE
