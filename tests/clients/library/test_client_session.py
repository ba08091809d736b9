"""The client's half of the protocol without sockets: alone, and with the server's half."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from clients.errors import ConnectionLost, ServerError, ServerFull
from clients.library.client_session import (
    MAX_STAMPS,
    Answered,
    ClientSession,
    Ended,
    Event,
    Opened,
)
from clients.library.packets import (
    AudioPacket,
    CodesPacket,
    LostPacket,
    Packet,
    PausePacket,
    VoicePacket,
)
from clients.library.wire import ClientWire
from facodec import bitstream
from facodec.config import HOP, Latency
from facodec.identity import ModelIdentity, ModelMismatch, belonging, model_of
from streaming.wire import protocol
from streaming.wire import session as server
from streaming.wire.framing import framing_of
from streaming.wire.media import Frames, Sound, Timbre
from streaming.wire.protocol import (
    Audio,
    Clock,
    Codes,
    Done,
    Error,
    Hello,
    LatencyInfo,
    Limits,
    Ready,
    Stamps,
    Voice,
)

LIVE = ModelIdentity("live", "0123456789ab")
OTHER = ModelIdentity("live", "ba9876543210")
LIMITS = Limits(max_message=100_000, max_frames=2, backlog=2.0, idle_timeout=60.0)
READY = Ready("s", "live", 16000, HOP, 6, LatencyInfo(200, 200), LIMITS, identity=str(LIVE))


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(hello: Hello, clock: FakeClock | None = None) -> ClientSession:
    session = ClientSession(hello, clock=clock or FakeClock())
    assert protocol.decode_client(session.open()) == hello
    assert tell(session, READY) == [Opened(READY)]
    return session


def tell(session: ClientSession, message: protocol.ServerMessage) -> list[Event]:
    return session.receive(protocol.encode(message))


def sent(messages: Iterable[bytes]) -> list[protocol.ClientMessage]:
    return [protocol.decode_client(message) for message in messages]


def test_sound_is_cut_to_what_a_message_may_hold_and_numbered() -> None:
    session = opened(Hello("encode", pcm="s16"))
    first = sent(session.audio(np.zeros(2 * HOP + 50, np.float32)))
    second = sent(session.audio(np.zeros(HOP, np.float32)))
    parts = [message for message in first + second if isinstance(message, Audio)]
    assert [(part.seq, len(part.data)) for part in parts] == [(0, 800), (2, 100), (2, 400)]
    assert session.frames_sent == 4  # a part counts as one
    assert session.wire.sound_bits_up == 8 * 1300 and session.wire.messages_up == 4


def test_codes_are_cut_to_frames_and_layers() -> None:
    session = opened(Hello("decode", layers=4))
    codes = np.arange(30).reshape(6, 5)
    parts = [message for message in sent(session.codes(codes)) if isinstance(message, Codes)]
    assert [(part.seq, part.n) for part in parts] == [(0, 2), (2, 2), (4, 1)]
    back = [bitstream.unpack(part.data, layers=4, frames=part.n) for part in parts]
    np.testing.assert_array_equal(np.concatenate(back, axis=1), codes[:4])
    with pytest.raises(ValueError, match="expected 4 layers of codes, got 3"):
        list(session.codes(codes[:3]))
    with pytest.raises(ModelMismatch):
        list(session.codes(belonging(codes, OTHER)))
    assert session.frames_sent == 5


def test_what_is_not_taken_was_not_sent() -> None:
    session = opened(Hello("encode"))
    messages = session.audio(np.zeros(4 * HOP, np.float32))
    next(messages)
    assert session.frames_sent == 0  # until it is known to have been sent
    next(messages)
    assert session.frames_sent == 2


def test_an_exact_voice_tells_its_model_and_an_estimate_does_not() -> None:
    session = opened(Hello("decode"))
    timbre = np.linspace(-1, 1, 256, dtype=np.float32)
    (exact, estimate) = sent(
        [*session.voice(belonging(timbre, LIVE)), *session.voice(timbre, exact=False)]
    )
    assert isinstance(exact, Voice) and exact.is_exact and exact.identity == str(LIVE)
    assert isinstance(estimate, Voice) and not estimate.is_exact and estimate.identity is None
    with pytest.raises(ModelMismatch):
        list(session.voice(belonging(timbre, OTHER)))


def test_a_voice_may_be_named_and_moved() -> None:
    session = opened(Hello("convert", voice="hazel"))
    timbre = belonging(np.linspace(-1, 1, 256, dtype=np.float32), LIVE)
    named, given, plain = sent(
        [*session.voice("rowan", shift=-2.0), *session.voice(timbre, shift=3), *session.voice("a")]
    )
    assert (named, plain) == (Voice("rowan", shift=-2.0), Voice("a"))
    assert given == Voice(Voice.exact(timbre).data, str(LIVE), shift=3.0)


def test_stamps_come_back_as_times_of_the_clients_own_clock() -> None:
    clock = FakeClock()
    session = opened(Hello("loopback"), clock)
    (unstamped,) = sent(session.audio(np.zeros(HOP, np.float32), captured=1.0))
    assert isinstance(unstamped, Audio) and unstamped.t is None, "the clock is not known yet"
    session.ask(0.0)
    clock.now = 0.5
    assert tell(session, Clock(0.0, 100.25)) == [Answered(0.0)]
    assert (session.clock.offset, session.clock.round_trip) == (100.0, 0.5)
    clock.now = 3.0
    (stamped,) = sent(session.audio(np.zeros(HOP, np.float32), captured=2.0))
    assert isinstance(stamped, Audio) and stamped.t == 102.0
    clock.now = 4.0
    own = Stamps(t=stamped.t)
    others = Stamps(t=50.0)
    pcm = protocol.pcm_to_bytes(np.zeros(HOP, np.float32), "f32")
    (mine,), (theirs,) = (
        tell(session, Audio(0, pcm, stamps=own)),
        tell(session, Audio(1, pcm, stamps=others)),
    )
    assert isinstance(mine, AudioPacket) and isinstance(theirs, AudioPacket)
    assert (mine.times.captured, mine.times.sent, mine.times.arrived) == (2.0, 3.0, 4.0)
    assert (theirs.times.captured, theirs.times.sent) == (-50.0, None)


def test_old_stamps_are_forgotten() -> None:
    session = opened(Hello("loopback"))
    tell(session, Clock(0.0, 0.0))
    for n in range(MAX_STAMPS + 1):
        list(session.audio(np.zeros(HOP, np.float32), captured=float(n)))
    pcm = protocol.pcm_to_bytes(np.zeros(HOP, np.float32), "f32")
    times = []
    for n in (0, 1, MAX_STAMPS):
        (packet,) = tell(session, Audio(n, pcm, stamps=Stamps(t=float(n))))
        assert isinstance(packet, AudioPacket)
        times.append(packet.times.sent)
    assert times == [None, 0.0, 0.0]


def test_media_belong_to_the_servers_model() -> None:
    session = opened(Hello("encode"))
    codes = np.arange(12).reshape(6, 2)
    (packet,) = tell(session, Codes(7, 2, bitstream.pack(codes)))
    assert isinstance(packet, CodesPacket) and packet.seq == 7
    np.testing.assert_array_equal(packet.codes, codes)
    assert model_of(packet.codes) == LIVE == session.identity
    (voice,) = tell(session, Voice.exact(np.zeros(256, np.float32)))
    assert isinstance(voice, VoicePacket) and voice.exact and model_of(voice.timbre) == LIVE
    assert session.wire.codes_bits_down == 120


def test_an_end_has_totals() -> None:
    session = opened(Hello("encode"))
    done = Done(3, 3, reason="publisher-left")
    assert tell(session, done) == [Ended(done)]
    assert session.totals == done


@pytest.mark.parametrize("code", ["overloaded", "unknown-voice"])
def test_the_servers_reason_is_raised(code: str) -> None:
    early, late = ClientSession(Hello("encode")), opened(Hello("encode"))
    error = Error(code, "why")
    expected = ServerFull if code == "overloaded" else ServerError
    with pytest.raises(expected, match="why"):
        tell(early, error)
    with pytest.raises(ServerError, match="why") as caught:
        tell(late, error)
    assert caught.value.code == code


def test_what_comes_before_ready_is_passed_by_and_nonsense_is_not() -> None:
    session = ClientSession(Hello("encode"))
    assert tell(session, Clock(0.0, 1.0)) == [] and not session.clock.known
    with pytest.raises(RuntimeError, match="no ready yet"):
        _ = session.ready
    with pytest.raises(ConnectionLost, match=r"no facodec\.v1 message"):
        session.receive(b"\xc1garbage")


@pytest.mark.parametrize(
    "media", [Audio(0, b"123"), Codes(0, 2, b"too few"), Codes(0, 1, bytes(99))]
)
def test_media_of_a_wrong_size_end_the_session(media: protocol.ServerMessage) -> None:
    session = opened(Hello("loopback"))
    with pytest.raises(ConnectionLost, match=r"no facodec\.v1 message"):
        tell(session, media)


def test_a_server_of_another_model_is_refused() -> None:
    session = ClientSession(Hello("decode", identity=str(OTHER)))
    with pytest.raises(ModelMismatch):
        tell(session, READY)


def test_both_halves_understand_each_other() -> None:
    hello = Hello("loopback", frames_per_packet=2)
    client, host = ClientSession(hello), server.ServerSession("s1", LIMITS, hello_timeout=5.0)
    assert host.receive(client.open(), 0.0) == server.Opened(hello)
    (ready,) = client.receive(host.open(LIVE, Latency(200, 200), hello.layers))
    assert isinstance(ready, Opened) and client.identity == LIVE

    reply = host.receive(client.ask(1.0), 5.0)
    assert isinstance(reply, server.Reply) and client.receive(reply.data) == [Answered(1.0)]

    samples = np.linspace(-0.5, 0.5, 5 * HOP, dtype=np.float32)
    heard = []
    for message in client.audio(samples):
        arrived = host.receive(message, 0.0)
        assert isinstance(arrived, server.Arrived) and isinstance(arrived.item, Sound)
        for data, _ in host.send(arrived.item):
            heard += client.receive(data)
    timbre = np.zeros(256, np.float32)
    (voice,) = (host.receive(message, 0.0) for message in client.voice(timbre))
    assert isinstance(voice, server.Arrived) and isinstance(voice.item, Timbre)

    assert [host.receive(message, 0.0) for message in client.end()] == [server.Ended()]
    events = [event for data, _ in host.finish("end") for event in client.receive(data)]
    heard += [event for event in events if isinstance(event, AudioPacket)]
    assert isinstance(events[-1], Ended) and client.totals is not None
    parts = [packet.samples for packet in heard if isinstance(packet, AudioPacket)]
    np.testing.assert_array_equal(np.concatenate(parts), samples)
    assert client.totals.frames_in == client.totals.frames_out == client.frames_sent == 5
    assert client.totals.bytes_in == client.wire.bytes_up


def test_codes_go_through_both_halves() -> None:
    hello = Hello("decode", layers=3)
    client, host = ClientSession(hello), server.ServerSession("s1", LIMITS, hello_timeout=5.0)
    host.receive(client.open(), 0.0)
    client.receive(host.open(LIVE, Latency(200, 200), hello.layers))
    codes = np.random.default_rng(0).integers(0, 1024, (6, 5))
    frames = []
    for message in client.codes(codes):
        arrived = host.receive(message, 0.0)
        assert isinstance(arrived, server.Arrived) and isinstance(arrived.item, Frames)
        frames.append(arrived.item.codes)
    np.testing.assert_array_equal(np.concatenate(frames, axis=1), codes[:3])


CODES = np.random.default_rng(2).integers(0, 1024, (6, 40))


def over_a_lossy_way(
    redundancy: int | None, *, fewer_layers: bool = False
) -> tuple[ClientSession, server.ServerSession]:
    """Both ends of a session of codes, whose packets may be lost between them."""
    encoding = ClientWire(protocol.COMPACT_SUBPROTOCOL, lossy=True)
    hello = Hello("loopback", "codes", "codes", pauses=True, redundancy=redundancy,
                  frames_per_packet=4, fewer_layers=fewer_layers)  # fmt: skip
    session = ClientSession(hello, clock=FakeClock(), encoding=encoding)
    framing = framing_of(protocol.COMPACT_SUBPROTOCOL, lossy=True)
    other = server.ServerSession("s", LIMITS_80, 5.0, framing=framing)
    other.receive(session.open(), 0.0)
    session.receive(other.open(LIVE, Latency(200, 200), 6, pauses=True))
    return session, other


LIMITS_80 = Limits(max_message=100_000, max_frames=80, backlog=2.0, idle_timeout=60.0)


def came(packets: Iterable[Event | Packet]) -> list[tuple[str, int, int]]:
    """Kind, place and frames of what came."""
    found = []
    for each in packets:
        if isinstance(each, CodesPacket):
            kind = "repaired" if each.repaired else "whole"
            found.append((kind, each.seq, each.codes.shape[1]))
        elif isinstance(each, (LostPacket, PausePacket)):
            kind = "lost" if isinstance(each, LostPacket) else "pause"
            found.append((kind, each.seq, each.frames))
    return found


@pytest.mark.parametrize("redundancy", [None, 1])
def test_a_packet_lost_on_the_way_down_is_repaired_or_told(redundancy: int | None) -> None:
    session, other = over_a_lossy_way(redundancy)
    sent = [data for data, _ in other.send(Frames(CODES[:, :20]))]
    packets = [event for place in (0, 2, 3) for event in session.receive(sent[place])]
    wait = session.patience(0.0)
    assert (wait is None) == (redundancy is not None)
    packets += session.settled(wait or 0.0)
    filled = ("lost", 4, 4) if redundancy is None else ("repaired", 4, 4)
    assert came(packets) == [("whole", 0, 4), filled, ("whole", 8, 4), ("whole", 12, 4)]
    if redundancy is not None:
        (repaired,) = (p for p in packets if isinstance(p, CodesPacket) and p.repaired)
        assert np.array_equal(repaired.codes[:3], CODES[:3, 4:8])
        assert np.array_equal(repaired.codes[3:], CODES[3:, 3:4].repeat(4, 1))
        assert model_of(repaired.codes) == LIVE


def test_detail_is_left_out_both_ways_and_held() -> None:
    session, other = over_a_lossy_way(None, fewer_layers=True)
    assert session.may_leave_out_detail
    up = list(session.codes(CODES[:, :4]))
    session.leave_out_detail(leave=True)
    up += session.codes(CODES[:, 4:8])
    session.leave_out_detail(leave=False)
    up += session.codes(CODES[:, 8:12])
    assert [data[0] for data in up] == [4, 0x64, 4] and len(up[1]) == 4 + 15
    packets: list[Event] = []
    for data in up:
        other.receive(data, 0.0)
    for each in other.settled(0.0):
        for data, _ in other.send(each.item):
            packets += session.receive(data)
    whole, thin, again = (each for each in packets if isinstance(each, CodesPacket))
    assert [each.layers for each in (whole, thin, again)] == [None, 3, None]
    assert np.array_equal(thin.codes[:3], CODES[:3, 4:8])
    assert np.array_equal(thin.codes[3:], CODES[3:, 3:4].repeat(4, 1))
    assert np.array_equal(again.codes, CODES[:, 8:12])
    assert session.wire.codes_bits_up == session.wire.codes_bits_down == 2 * 240 + 120


def test_where_fewer_layers_were_not_agreed_on_all_are_sent() -> None:
    session, _ = over_a_lossy_way(None)
    session.leave_out_detail(leave=True)
    assert not session.may_leave_out_detail
    assert [data[0] for data in session.codes(CODES[:, :4])] == [4]


def test_what_is_left_at_the_end_comes_before_it() -> None:
    session, other = over_a_lossy_way(None)
    sent = [data for data, _ in other.send(Frames(CODES[:, :12]))]
    events = [*session.receive(sent[0]), *session.receive(sent[2])]
    (done,) = (data for data, _ in other.finish("end"))
    events += session.receive(done)
    assert came(events) == [("whole", 0, 4), ("lost", 4, 4), ("whole", 8, 4)]
    assert isinstance(events[-1], Ended)


def test_a_pause_is_told_to_its_end_and_both_ends_agree_on_what_was_lost() -> None:
    session, other = over_a_lossy_way(1)
    up = [*session.codes(CODES[:, :4]), *session.pause(8), *session.pause(4)]
    for at in range(16, 28, 4):
        up += session.codes(CODES[:, at : at + 4])
    assert [data[0] for data in up] == [4, 0x63, 0x63, 0x73, 0x73, 0x73]
    for data in (*up[:3], up[4], up[5]):  # the first packet after the pause is lost
        other.receive(data, 0.0)
    frames = [(type(each.item).__name__, int(each.item.frames)) for each in other.settled(0.0)]
    assert frames == [
        ("Packed", 4), ("Pause", 8), ("Pause", 4), ("Reduced", 4), ("Packed", 4), ("Packed", 4),
    ]  # fmt: skip


def test_a_server_whose_repeat_cannot_be_is_left() -> None:
    session, _ = over_a_lossy_way(1)
    framing = framing_of(protocol.COMPACT_SUBPROTOCOL)
    wrong = Codes(4, 1, bytes(8), repeat=protocol.Repeat(1, 1, bytes(3)))
    session.receive(framing.to_client(Codes(0, 1, bytes(8))))
    with pytest.raises(ConnectionLost, match="expected 4 bytes for a repeat of 1 frames, got 3"):
        session.receive(framing.to_client(wrong))
        session.settled(9.0)
