"""The way up over links that are too slow, with a fake link and a fake clock."""

from __future__ import annotations

import asyncio
import io
import socket as sockets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from clients.audio.microphone import Block
from clients.errors import ConnectionLost
from clients.session import run
from clients.session.live_options import LiveOptions
from clients.session.run import LiveRun
from clients.session.status import Reporter
from clients.session.uplink import LinkCounters, Uplink
from facodec.config import HOP, SAMPLE_RATE
from streaming.wire import protocol
from streaming.wire.linkcontrol import LONG as MOST_FRAMES
from streaming.wire.linkcontrol import LONGEST, LinkControl, Step, steps
from streaming.wire.linkwatch import LinkWatch
from streaming.wire.protocol import Clock, LatencyInfo, Limits, Ready
from streaming.wire.transport import unacknowledged

PERIOD = HOP / SAMPLE_RATE
READY = Ready("s", "live", 16000, 200, 6, LatencyInfo(200, 200), Limits(2**17, 80, 2.0, 60.0))
FRAME_BITS, LEAN_BITS = 60, 30
LONG = 600
MESSAGE, WEBSOCKET, HEADERS = 3, 6, 52
"""Bytes beside the codes: the message's own, WebSocket's, those of TCP and IP."""


def rate_of(frames: int, bits: int = FRAME_BITS) -> float:
    """Bits a second of packets of so many frames of so many bits, all headers included."""
    size = -(-frames * bits // 8) + MESSAGE + WEBSOCKET + HEADERS
    return 8 * size / (frames * PERIOD)


class FakeLink:
    """A session over a link of ``rates`` (from s on, bit/s), one way of which takes ``delay`` s,
    ``longer`` s more from some time on. ``lean``: detail may be left out."""

    repeats = False

    def __init__(
        self,
        rates: list[tuple[float, float]],
        delay: float = 0.03,
        longer: tuple[float, float] = (0.0, 0.0),
        *,
        lean: bool = False,
    ) -> None:
        self.may_leave_out_detail = lean
        self._bits = FRAME_BITS
        self.now = 0.0
        self.bytes_sent = 0
        self.lags: list[tuple[float, float]] = []
        """Time that a packet came, and the age of its oldest frame then."""
        self.packets: list[tuple[float, int]] = []
        self._rates, self._delay, self._longer = rates, delay, longer
        self._free_at = 0.0
        self._acknowledged: deque[tuple[float, int]] = deque()

    @property
    def unacknowledged(self) -> int:
        while self._acknowledged and self._acknowledged[0][0] <= self.now:
            self._acknowledged.popleft()
        return sum(size for _, size in self._acknowledged)

    def leave_out_detail(self, *, leave: bool) -> None:
        assert self.may_leave_out_detail or not leave
        self._bits = LEAN_BITS if leave else FRAME_BITS

    def hold_voices(self, *, hold: bool) -> None:
        pass

    async def send_codes(self, codes: np.ndarray, captured: float | None = None) -> None:
        count = codes.shape[1]
        oldest = None if captured is None else captured - (count - 1) * PERIOD
        self._send(-(-count * self._bits // 8), oldest)
        self.packets.append((self.now, count))

    async def send_audio(self, samples: np.ndarray, captured: float | None = None) -> None:
        self._send(2 * len(samples), captured)

    async def send_pause(self, frames: int, noise: bytes = b"") -> None:
        self._send(len(noise), None)

    def _send(self, size: int, captured: float | None) -> None:
        size += MESSAGE + WEBSOCKET
        self.bytes_sent += size
        self._free_at = self._sent_by(max(self.now, self._free_at), 8 * (size + HEADERS))
        since, more = self._longer
        delay = self._delay + (more if self.now >= since else 0.0)
        self._acknowledged.append((self._free_at + 2 * delay, size))
        if captured is not None:
            come = self._free_at + delay
            self.lags.append((come, come - captured))

    def _sent_by(self, at: float, bits: float) -> float:
        """Time by which bits have left whose first leaves at ``at``."""
        ends = [start for start, _ in self._rates[1:]] + [float("inf")]
        for (start, rate), end in zip(self._rates, ends, strict=True):
            if at >= end or rate == 0:
                at = max(at, min(end, 1e9)) if at < end else at
                continue
            begin = max(at, start)
            if begin + bits / rate <= end:
                return begin + bits / rate
            bits -= (end - begin) * rate
            at = end
        raise AssertionError("the link never comes back")


@dataclass
class Talk:
    """Outcome of a talk."""

    counters: LinkCounters = field(default_factory=LinkCounters)
    troubles: list[str] = field(default_factory=list)


def talk(link: FakeLink, seconds: float, *, frames: int = 1, live: bool = True) -> Talk:
    """Speech without a pause, in blocks of ``frames``."""
    told = Talk()

    async def work() -> None:
        uplink = Uplink(link, told.counters, frames=frames, live=live, clock=lambda: link.now)
        for index in range(int(seconds / PERIOD / frames)):
            link.now = (index + 1) * PERIOD * frames
            await uplink.send_codes(np.zeros((6, frames), np.int64), link.now)
            told.troubles.append(uplink.trouble)

    asyncio.run(work())
    return told


def worst(link: FakeLink, since: float) -> float:
    return max(lag for at, lag in link.lags if at >= since)


@pytest.mark.parametrize("delay", [0.0005, 0.015, 0.15])
def test_a_good_link_gets_what_comes_as_it_comes(delay: float) -> None:
    link = FakeLink([(0, 1e6)], delay=delay)
    told = talk(link, 20)
    # A long way is not known for one in the first second.
    later = [count for at, count in link.packets if at > 1.1 or delay < 0.02]
    assert set(later) == {1}
    assert sum(count for _, count in link.packets) == 1600
    assert told.counters == LinkCounters()
    assert not any(told.troubles)


@pytest.mark.parametrize("frames", [1, 2, 8])
def test_on_a_link_of_1_3_times_the_rate_of_long_packets_the_lag_stays_under_400_ms(
    frames: int,
) -> None:
    link = FakeLink([(0, 1.3 * rate_of(MOST_FRAMES))])
    told = talk(link, LONG, frames=frames)
    assert worst(link, 0) < 0.4
    assert told.counters.dropped == 0


@pytest.mark.parametrize(("kbps", "most"), [(4.0, 1.4), (6.24, 1.2), (9.0, 0.51)])
def test_on_a_link_that_is_too_slow_the_oldest_is_dropped_and_the_lag_stays_bounded(
    kbps: float, most: float
) -> None:
    link = FakeLink([(0, kbps * 1000)])
    told = talk(link, 60)
    assert (
        worst(link, 4) < most
    )  # it takes some seconds to see that 16 frames a packet are too many
    assert worst(link, 0) < most + 1
    assert told.troubles[-1].startswith("link too slow: ")
    sent = sum(count for _, count in link.packets)
    taken = kbps * 1000 / rate_of(LONGEST)
    assert sent > 0.9 * min(1, taken) * 60 / PERIOD  # no more is dropped than must be
    assert told.counters.dropped + sent == pytest.approx(60 / PERIOD, abs=LONGEST)


@pytest.mark.parametrize(("kbps", "most"), [(5.2, 0.8), (6.24, 0.6), (8.0, 0.5)])
def test_detail_is_left_out_before_anything_is_dropped(kbps: float, most: float) -> None:
    link = FakeLink([(0, kbps * 1000)], lean=True)
    told = talk(link, 60, frames=4)
    assert worst(link, 5) < most
    assert told.counters.dropped < 0.02 * 60 / PERIOD
    assert told.counters.reduced > 0.8 * 60 / PERIOD
    assert any(each.endswith("kbit/s, no detail") for each in told.troubles)


def test_detail_comes_back_when_the_link_is_good_again() -> None:
    link = FakeLink([(0, 7e3), (20, 256e3)], lean=True)
    told = talk(link, 60, frames=4)
    assert link.packets[-1][1] == 4 and not told.troubles[-1]
    assert told.counters.reduced < 0.8 * 60 / PERIOD


def test_the_steps_are_longer_packets_then_less_detail_then_longer_still() -> None:
    taken = [(each.frames, each.detailed) for each in steps(2, may_leave_out_detail=True)]
    assert taken == [(2, True), (4, True), (8, True), (8, False), (16, False)]
    assert steps(8, may_leave_out_detail=False, longest=8) == [Step(8, True)]
    assert steps(1, may_leave_out_detail=False)[-1] == Step(LONGEST, True)


@pytest.mark.parametrize("length", [0.3, 1.0, 5.0])
def test_after_an_outage_the_newest_comes_at_once(length: float) -> None:
    link = FakeLink([(0, 64e3), (10, 0.0), (10 + length, 64e3)])
    told = talk(link, 40)
    assert worst(link, 10 + length + 0.5) < 0.25
    assert worst(link, 38) < 0.06  # as before: one frame a packet
    assert link.packets[-1][1] == 1
    assert any(told.troubles) and not told.troubles[-1]


@pytest.mark.parametrize("length", [0.3, 1.0, 5.0])
def test_a_link_that_stood_still_is_not_slow(length: float) -> None:
    link = FakeLink([(0, 256e3), (10, 0.0), (10 + length, 256e3)])
    told = talk(link, 10 + length + 3)
    assert worst(link, 10 + length + 0.5) < 0.06
    assert told.counters.steps == 0


def sent_without_a_step(looks: int, arrival: Callable[[float, bool], float]) -> int:
    """Looks at a link that is handed 30 bytes every four hops; ``arrival``: s, of what is handed
    over at a time, and whether more is on the way. No step is to be taken; bytes that were sent."""
    watch, control = LinkWatch(), LinkControl(steps(4, may_leave_out_detail=True))
    sent = 0
    on_the_way: deque[tuple[float, int]] = deque()
    for index in range(1, looks):
        now = index * PERIOD
        while on_the_way and on_the_way[0][0] <= now:
            on_the_way.popleft()
        if index % 4 == 0 and not control.is_full:
            sent += 30
            on_the_way.append((arrival(now, bool(on_the_way)), 30))
        watch.look(now, sent, sum(size for _, size in on_the_way))
        assert not control.decide(now, watch)
    assert not control.is_full
    return sent


@pytest.mark.parametrize(("first", "length"), [(0.3, 1.0), (0.9, 1.7), (1.0, 4.0)])
def test_an_acknowledgement_that_comes_late_does_not_end_an_outage(
    first: float, length: float
) -> None:
    """TCP repeats the last one before it long before what was lost."""
    begin = 5.0

    def arrival(now: float, waiting: bool) -> float:
        out = begin <= now < begin + length
        return begin + (length if waiting else first) if out else now + 0.045

    assert sent_without_a_step(800, arrival) > 3600


@pytest.mark.parametrize("late", [0.0, 0.065, 0.095])
@pytest.mark.parametrize("length", [0.5, 1.0, 5.0])
def test_an_acknowledgement_that_is_late_before_an_outage_does_not_make_it_a_slow_link(
    late: float, length: float
) -> None:
    """Receivers take their time, and looks are apart."""
    begin = 5.0

    def arrival(now: float, waiting: bool) -> float:
        if begin <= now < begin + length:
            return begin + length
        return now + 0.045 + late * (begin - 4 * PERIOD <= now < begin)

    assert sent_without_a_step(1000, arrival) > 3600


@pytest.mark.parametrize("more", [0.05, 0.1, 0.3])
def test_a_way_that_becomes_longer_is_no_slow_link(more: float) -> None:
    link = FakeLink([(0, 1e6)], longer=(5.0, more))
    told = talk(link, 40)
    assert {count for at, count in link.packets if at > 35} == {1}
    assert not any(told.troubles[-400:])
    assert worst(link, 30) < 0.05 + more
    assert told.counters.dropped <= 160
    assert worst(link, 0) < 0.5 + more


def test_steps_back_that_fail_are_tried_more_and_more_rarely() -> None:
    link = FakeLink([(0, 1.3 * rate_of(MOST_FRAMES))])
    told = talk(link, 300)
    assert told.counters.steps < 20


def test_after_a_fade_packets_are_soon_as_short_as_before_again_and_again() -> None:
    """As at the edge of a cell: each time the link takes 2 kbit/s for a second."""
    fades = [10.0 + 10 * number for number in range(6)]
    rates = [(0.0, 64e3)] + [each for at in fades for each in ((at, 2e3), (at + 1, 64e3))]
    link = FakeLink(rates, lean=True)
    told = talk(link, 70, frames=4)
    assert told.counters.steps >= 6
    for at in fades:
        assert {count for time, count in link.packets if at + 6 < time < at + 10} == {4}
    assert told.counters.reduced < 0.25 * 70 / PERIOD


def test_a_file_is_never_dropped() -> None:
    link = FakeLink([(0, 4000.0)])
    told = talk(link, 20, live=False)
    assert [count for _, count in link.packets] == [1] * 1600
    assert told.counters == LinkCounters()


def test_sound_and_pauses_are_left_out_while_the_link_is_full() -> None:
    async def work() -> tuple[int, int]:
        link, counters = FakeLink([(0, 64e3), (1, 0.0), (3, 1e6)]), LinkCounters()
        uplink = Uplink(link, counters, frames=1, live=True, clock=lambda: link.now)
        for index in range(160):
            link.now = 1 + index * PERIOD
            await uplink.send_audio(np.zeros(HOP, np.float32), link.now)
        sent = link.bytes_sent
        await uplink.send_pause(1, b"")
        assert link.bytes_sent == sent
        link.now = 5.0
        await uplink.send_codes(np.zeros((6, 1), np.int64), link.now)
        await uplink.send_pause(1, b"")
        assert link.bytes_sent > sent
        return counters.dropped, sent

    dropped, sent = asyncio.run(work())
    assert 100 < dropped < 150
    assert sent < 60 * (2 * HOP + MESSAGE + WEBSOCKET)


def test_a_long_message_before_codes_is_no_slow_link() -> None:
    """As an estimate of a voice is on a link that codes alone nearly fill."""
    link, counters = FakeLink([(0, 16e3)]), LinkCounters()

    async def work() -> None:
        uplink = Uplink(link, counters, frames=4, live=True, clock=lambda: link.now)
        for index in range(2400):
            link.now = (index + 1) * PERIOD
            uplink.look()
            if index % 200 == 0:
                link._send(230, None)
            if index % 4 == 3:
                await uplink.send_codes(np.zeros((6, 4), np.int64), link.now)

    asyncio.run(work())
    assert counters == LinkCounters()
    assert worst(link, 0) > 0.15  # it did come late


def test_little_that_was_sent_is_not_taken_for_a_slow_link() -> None:
    watch, sent, taken = LinkWatch(), 0, 0
    for index in range(100):  # a pause, of which ten bytes tell
        if index % 20 == 0:
            sent += 10
        taken = sent if index % 20 >= 4 else sent - 10
        watch.look(index * 0.0125, sent, sent - taken)
    before = sent
    for index in range(100, 112):
        sent = before + 250
        watch.look(index * 0.0125, sent, 250)
        assert watch.lag < 0.15 and not watch.is_slow


def test_the_rate_told_is_that_of_the_link() -> None:
    watch = LinkWatch()
    for index in range(400):
        now, sent = index * 0.01, index * 20
        watch.look(now, sent, max(0, sent - round(now * 300)))
    assert watch.kbps == pytest.approx(2.4, abs=0.1)


def test_the_system_tells_what_was_not_acknowledged() -> None:
    with sockets.create_server(("127.0.0.1", 0)) as server:
        client = sockets.create_connection(server.getsockname())
        peer, _ = server.accept()
        with client, peer:
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    client.send(bytes(1 << 16))
            assert unacknowledged(client) > 0
        assert unacknowledged(client) == 0  # closed


class Microphone:
    """A live source: noise in blocks of a hop, at the pace of speech."""

    name, overruns, live = "noise", 0, True
    _stopped = False

    async def blocks(self) -> AsyncIterator[Block]:
        while not self._stopped:
            await asyncio.sleep(PERIOD)
            yield Block(np.full(HOP, 0.1, np.float32), time.monotonic())

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        pass


def test_a_live_command_drops_what_the_server_does_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def talk(peer: ServerConnection) -> None:
        await peer.recv()
        await peer.send(protocol.encode(READY))
        for _ in range(3):
            asked = protocol.decode_client(await peer.recv(decode=False))
            assert isinstance(asked, Clock)
            await peer.send(protocol.encode(Clock(asked.t0, 1000.0)))
        peer.transport.pause_reading()
        await over.wait()
        peer.transport.abort()

    async def work() -> LiveRun:
        listening = sockets.create_server(("127.0.0.1", 0))
        listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        async with serve(talk, sock=listening, subprotocols=["facodec.v1"]):  # type: ignore[list-item]
            options = LiveOptions(url, "publish", room="r")
            live = LiveRun(options, Reporter(out=io.StringIO(), errors=io.StringIO()), None)
            running = asyncio.create_task(live.run())
            while not (live.progress.link.dropped and live.progress.trouble):
                assert not running.done()
                await asyncio.sleep(0.02)
            over.set()
            with pytest.raises(ConnectionLost):
                await running
        return live

    over = asyncio.Event()
    monkeypatch.setattr(run, "open_source", lambda *_, **__: Microphone())
    live = asyncio.run(asyncio.wait_for(work(), 60))
    assert live.progress.trouble.startswith("link too slow: ")
