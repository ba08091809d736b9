"""A session over one connection after the other, both ends as state machines: what was lost comes
again, the numbers go on, and nothing comes twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clients.errors import ConnectionLost
from clients.library.client_session import ClientSession, Ended, Event, Opened
from clients.library.packets import AudioPacket, CodesPacket, PausePacket, VoicePacket
from clients.library.unacknowledged import Unacknowledged
from clients.library.wire import ClientWire
from facodec.config import HOP, Latency
from facodec.identity import ModelIdentity
from streaming.wire import protocol
from streaming.wire.framing import framing_of
from streaming.wire.media import Pause, Sound, Timbre
from streaming.wire.protocol import Audio, Clock, Hello, Limits, ProtocolError, Ready, Voice
from streaming.wire.replay import NEWEST, SentMessages
from streaming.wire.session import Arrived, Reply, ServerSession
from streaming.wire.session import Ended as AllSent
from streaming.wire.session import Opened as Asked

LIVE = ModelIdentity("live", "0123456789ab")
LIMITS = Limits(max_message=100_000, max_frames=80, backlog=2.0, idle_timeout=60.0)
V1, V2 = "facodec.v1", "facodec.v2"


class Pair:
    """A client and a server that gives back what it gets. ``up`` and ``down``: messages on their
    way; those that are there when the connection is cut are lost."""

    def __init__(self, hello: Hello, subprotocol: str = V2) -> None:
        self.now = 0.0
        self.client = ClientSession(hello, clock=lambda: self.now, encoding=ClientWire(subprotocol))
        self.server = ServerSession("s1", LIMITS, 5.0, 0.0, framing_of(subprotocol))
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.events: list[Event] = []
        self.arrived: list[Arrived] = []
        asked = self.server.receive(self.client.open(), 0.0)
        assert isinstance(asked, Asked)
        ready = self.server.open(LIVE, Latency(200, 200), 6, resume="secret", pauses=True)
        (opened,) = self.client.receive(ready)
        assert isinstance(opened, Opened) and opened.ready.replay == hello.replay

    def deliver(self, up: int = 10**9, down: int = 10**9) -> None:
        """Brings the first messages of each way to their end."""
        taken, self.up = self.up[:up], self.up[up:]
        for data in taken:
            self._serve(data)
        taken, self.down = self.down[:down], self.down[down:]
        for data in taken:
            self.events += self.client.receive(data)

    def cut(self) -> None:
        """Loses what is on its way, and comes back over another connection."""
        self.lose()
        self.come_back()

    def lose(self) -> None:
        self.up, self.down = [], []

    def come_back(self, *, told: bool = True) -> None:
        """``told``: the server's answer arrives."""
        version = protocol.VERSIONS[self.client._encoding.subprotocol]
        hello = protocol.decode_client(self.client.come_back(), version)
        assert isinstance(hello, Hello) and hello.resume == "secret"
        (ready, _), *lacking = self.server.come_back(hello)
        if not told:
            return
        (opened,) = self.client.receive(ready)
        assert isinstance(opened, Opened)
        self.up = self.client.lacking(opened.ready)
        self.down = [data for data, _ in lacking]

    def _serve(self, data: bytes) -> None:
        event = self.server.receive(data, self.now)
        if isinstance(event, Reply):
            self.down.append(event.data)
        elif isinstance(event, Arrived):
            self.arrived.append(event)
            items = [event.item] if event.before is None else [event.before, event.item]
            for item in items:
                self.down += [data for data, _ in self.server.send(item)]
        elif isinstance(event, AllSent):
            self.down += [data for data, _ in self.server.finish("end")]

    def result(self) -> list[object]:
        """All that came of the stream, to be compared."""
        found: list[object] = []
        for event in self.events:
            if isinstance(event, AudioPacket):
                found.append((event.seq, event.samples.tobytes()))
            elif isinstance(event, CodesPacket):
                found.append((event.seq, event.codes.tobytes()))
            elif isinstance(event, VoicePacket):
                found.append((event.exact, event.timbre.tobytes()))
            elif isinstance(event, PausePacket):
                found.append((event.seq, event.frames, event.noise))
            elif isinstance(event, Ended):
                found.append((event.totals.frames_in, event.totals.frames_out))
        return found


@pytest.mark.parametrize("subprotocol", [V1, V2])
@pytest.mark.parametrize("seed", range(8))
def test_sound_of_which_all_is_kept_is_that_of_an_unbroken_session(
    seed: int, subprotocol: str
) -> None:
    def stream(breaks: bool) -> list[object]:
        rng = np.random.default_rng(seed)
        noise = np.random.default_rng(1).normal(0, 0.1, 40_000).astype(np.float32)
        pair = Pair(Hello("loopback", replay="all", frames_per_packet=3), subprotocol)
        at = 0
        while at < len(noise):
            size = int(rng.integers(1, 3000)) // HOP * HOP + HOP
            pair.up += pair.client.audio(noise[at : at + size])
            at += size
            if rng.random() < 0.3:
                pair.now += 1.0
                pair.up.append(pair.client.ask(pair.now))
            chance, up, down = rng.random(), *rng.integers(0, 6, 2)
            if breaks and chance < 0.4:
                pair.deliver(int(up), int(down))
                pair.cut()
            else:
                pair.deliver()
        pair.up += pair.client.end()
        if breaks:
            pair.deliver(1, 0)
            pair.cut()
        pair.deliver()
        return pair.result()

    assert stream(breaks=True) == stream(breaks=False)


def test_codes_voices_and_pauses_of_which_all_is_kept_are_those_of_an_unbroken_session() -> None:
    def stream(breaks: bool) -> list[object]:
        rng = np.random.default_rng(5)
        pair = Pair(Hello("loopback", "codes", "codes", replay="all", pauses=True))
        for step in range(60):
            if step % 7 == 3:
                pair.up += pair.client.pause(int(rng.integers(1, 100)), bytes(5))
            else:
                codes = rng.integers(0, 1024, (6, int(rng.integers(1, 9))))
                pair.up += pair.client.codes(codes)
            if step % 10 == 0:
                pair.up += pair.client.voice(rng.normal(size=256).astype(np.float32))
            up, down = rng.integers(0, 4, 2)
            if breaks and step % 3 == 0:
                pair.deliver(int(up), int(down))
                pair.cut()
        pair.up += pair.client.end()
        pair.deliver()
        return pair.result()

    unbroken, broken = stream(breaks=False), stream(breaks=True)
    assert broken == unbroken


def test_an_answer_that_is_lost_too_loses_nothing() -> None:
    pair = Pair(Hello("loopback", replay="all"))
    noise = np.random.default_rng(1).normal(0, 0.1, 20 * HOP).astype(np.float32)
    for hop in noise.reshape(20, HOP):
        pair.up += pair.client.audio(hop)
    pair.deliver(7, 3)
    pair.lose()
    for _ in range(3):
        pair.come_back(told=False)
    pair.come_back()
    pair.deliver(5, 0)
    pair.cut()
    pair.deliver()
    heard = [event.samples for event in pair.events if isinstance(event, AudioPacket)]
    np.testing.assert_array_equal(np.concatenate(heard), noise)


def test_what_is_acknowledged_is_not_kept() -> None:
    pair = Pair(Hello("loopback", replay="all"))
    sent = pair.server.sent
    assert sent is not None
    for second in range(1, 30):
        pair.up += pair.client.audio(np.zeros(16_000, np.float32))
        pair.up.append(pair.client.ask(float(second)))
        pair.deliver()
    assert sent.bytes < 2 * 65 * 1024
    assert len(pair.client._unacknowledged) == 0


def test_of_live_sound_only_the_newest_goes_up_again_and_the_numbers_go_on() -> None:
    pair = Pair(Hello("loopback", replay="newest", pcm="s16"))
    for step in range(10):
        pair.up += pair.client.audio(np.full(HOP, step / 100, np.float32))
    pair.deliver()
    for step in range(100):
        pair.up += pair.client.audio(np.full(HOP, step / 100, np.float32))
    pair.up += pair.client.voice(np.ones(256, np.float32))
    pair.cut()
    pair.up += pair.client.audio(np.full(HOP, 0.5, np.float32))
    pair.deliver()
    seqs = [event.seq for event in pair.events if isinstance(event, AudioPacket)]
    assert seqs == list(range(10 + NEWEST + 1))
    assert pair.client.frames_dropped == 100 - NEWEST
    sounds = [each.item.samples[0] for each in pair.arrived if isinstance(each.item, Sound)]
    assert sounds[10] == pytest.approx(0.6, abs=1e-4) and sounds[-1] == pytest.approx(0.5)
    assert any(isinstance(each.item, Timbre) for each in pair.arrived)


def test_of_live_codes_too_and_pauses_stay_as_long_as_they_were() -> None:
    pair = Pair(Hello("loopback", "codes", "codes", replay="newest", pauses=True))
    rng = np.random.default_rng(5)
    for _ in range(30):
        pair.up += pair.client.codes(rng.integers(0, 1024, (6, 4)))
        pair.up += pair.client.pause(10, bytes(5))
    pair.cut()
    pair.up += pair.client.codes(rng.integers(0, 1024, (6, 4)))
    pair.deliver()
    told = pair.client.frames_dropped + pair.server.totals.frames_in
    assert told == 30 * 14 + 4
    assert NEWEST - 14 < pair.server.totals.frames_in <= NEWEST + 4
    assert sum(isinstance(each.item, Pause) for each in pair.arrived) == 3


def test_of_what_comes_down_only_the_newest_comes_again_with_the_voice_it_is_in() -> None:
    pair = Pair(Hello("convert", replay="newest", voice="hazel"))
    timbre = np.linspace(-1, 1, 256, dtype=np.float32)
    pair.up += pair.client.audio(np.zeros(10 * HOP, np.float32))
    pair.deliver()
    for _ in range(5):
        pair.server.send(Timbre(timbre, exact=True))
        pair.server.send(Sound(np.zeros(40 * HOP, np.float32)))
    pair.cut()
    pair.deliver()
    *_, voice, first = pair.events[: 10 + 2]
    assert isinstance(voice, VoicePacket) and isinstance(first, AudioPacket)
    seqs = [event.seq for event in pair.events if isinstance(event, AudioPacket)]
    assert seqs == [*range(10), *range(210 - NEWEST, 210)]
    assert pair.client.frames_skipped == 200 - NEWEST


def test_who_asks_for_nothing_gets_nothing_new() -> None:
    session = ServerSession("s1", LIMITS, 5.0)
    session.receive(protocol.encode(Hello("encode")), 0.0)
    ready = protocol.decode_server(session.open(LIVE, Latency(200, 200), 6))
    assert isinstance(ready, Ready)
    assert (ready.replay, ready.resume, ready.received) == (None, None, None)
    assert session.sent is None and session.tell_presence("away") is None
    with pytest.raises(ProtocolError, match="unknown-session"):
        session.come_back(Hello("encode", resume="x", received=0))


def test_a_listener_gets_the_newest_whatever_it_asked_for() -> None:
    session = ServerSession("s1", LIMITS, 5.0)
    session.receive(protocol.encode(Hello("subscribe", room="a", replay="all")), 0.0)
    ready = protocol.decode_server(session.open(LIVE, Latency(200, 200), 6, resume="x"))
    assert isinstance(ready, Ready) and ready.replay == "newest"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"role": "encode"}, "bad-field"),
        ({"seed": 4}, "bad-field"),
        ({"received": 4}, "bad-field"),
        ({"version": 1}, "bad-field"),
        ({"token": "another"}, None),
    ],
)
def test_who_comes_back_asks_for_what_he_had(change: dict[str, object], code: str | None) -> None:
    pair = Pair(Hello("loopback", replay="all"))
    hello = replace(pair.client.hello, **{"resume": "secret", "received": 0, **change})  # type: ignore[arg-type]
    if code is None:
        assert pair.server.come_back(hello)
        return
    with pytest.raises(ProtocolError) as caught:
        pair.server.come_back(hello)
    assert caught.value.code == code


def test_who_acknowledges_nothing_cannot_come_back_from_far() -> None:
    sent = SentMessages("all", most_bytes=10_000)
    for _ in range(10):
        sent.add(bytes(999), 1)
    assert sent.is_whole and sent.bytes == 9_990
    sent.acknowledge(4)
    assert sent.bytes == 6 * 999
    for _ in range(5):
        sent.add(bytes(999), 1)
    assert not sent.is_whole and sent.bytes == 0
    with pytest.raises(ProtocolError, match="expected received of 15 or less, got 16"):
        sent.acknowledge(16)


def test_live_sound_that_nobody_acknowledges_stays_small() -> None:
    sent = SentMessages("newest")
    for _ in range(10_000):
        sent.add(bytes(100), 1)
        sent.add(b"\x63\x00\x00", 0)
    assert sent.bytes <= 100 * NEWEST
    assert len(sent.replay(0)) == NEWEST


def test_a_server_that_counts_what_was_never_sent_is_not_believed() -> None:
    pair = Pair(Hello("loopback", replay="all"))
    with pytest.raises(ConnectionLost, match="expected received of 0 to 0, got 7"):
        pair.client.lacking(replace(pair.client.ready, received=7))
    kept = Unacknowledged("f32")
    kept.add(Audio(0, bytes(800)))
    kept.add(Voice("hazel"))
    kept.ask(1.0)
    kept.answer(2.0)
    assert len(kept) == 2
    kept.answer(1.0)
    assert len(kept) == 0
    assert kept.come_back(2, newest=False) == ([], 0)


def test_acknowledgements_cost_live_sound_nothing() -> None:
    live, kept = Pair(Hello("loopback", replay="newest")), Pair(Hello("loopback", replay="all"))
    assert protocol.decode_client(live.client.ask(1.0), 2) == Clock(1.0)
    assert protocol.decode_client(kept.client.ask(1.0), 2) == Clock(1.0, received=0)
