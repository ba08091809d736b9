from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facodec import bitstream
from facodec.config import Latency
from facodec.identity import ModelIdentity
from facodec.link.entropy import FrameCoder
from streaming.wire import protocol
from streaming.wire.agreed import Agreed, agree
from streaming.wire.framing import CompactFraming
from streaming.wire.media import Frames, Packed, Pause, Reduced, Sound, Timbre
from streaming.wire.packets import Packetizer
from streaming.wire.pausing import MOST_AHEAD
from streaming.wire.protocol import (
    Audio,
    Clock,
    Codes,
    Done,
    End,
    Hello,
    Limits,
    Noise,
    ProtocolError,
    Ready,
    Repeat,
    Stamps,
    Voice,
)
from streaming.wire.session import Arrived, Ended, Event, Opened, Reply, ServerSession

LIVE = ModelIdentity("live", "0123456789ab")
LIMITS = Limits(max_message=100_000, max_frames=80, backlog=2.0, idle_timeout=60.0)


def opened(hello: Hello) -> ServerSession:
    session = ServerSession("s1", LIMITS, hello_timeout=5.0)
    assert isinstance(send(session, hello), Opened)
    session.open(LIVE, Latency(200, 200), hello.layers)
    return session


def send(session: ServerSession, message: protocol.ClientMessage, now: float = 0.0) -> Event:
    return session.receive(protocol.encode(message), now)


def pcm(count: int, value: float = 0.0) -> bytes:
    return np.full(count, value, "<f4").tobytes()


def refused(session: ServerSession, message: protocol.ClientMessage | bytes | str) -> str:
    data = protocol.encode(message) if not isinstance(message, (bytes, str)) else message
    with pytest.raises(ProtocolError) as caught:
        session.receive(data, 0.0)
    return caught.value.code


def test_a_whole_conversation() -> None:
    session = ServerSession("s1", LIMITS, hello_timeout=5.0)
    assert send(session, Hello("encode")) == Opened(Hello("encode"))
    ready = protocol.decode_server(session.open(LIVE, Latency(200, 150), 6))
    assert isinstance(ready, Ready)
    assert (ready.session, ready.latency.decoder, ready.limits) == ("s1", 150, LIMITS)
    first = send(session, Audio(0, pcm(300), t=4.0))
    assert isinstance(first, Arrived) and isinstance(first.item, Sound)
    assert (len(first.item.samples), first.t) == (300, 4.0)
    send(session, Audio(1, pcm(250)))
    assert send(session, End()) == Ended()
    session.totals.add(queue=0.5, encode=0.25, decode=0.0)
    sent = session.send(Frames(np.zeros((6, 2), np.int64)), Stamps(t=4.0))
    assert [frames for _, frames in sent] == [1, 1]
    done = protocol.decode_server(session.finish("end")[-1][0])
    assert isinstance(done, Done)
    assert (done.frames_in, done.frames_out, done.reason) == (3, 2, "end")
    assert (done.queue_max, done.encode) == (0.5, 0.25)
    assert done.bytes_in > 550 * 4


def test_clock_is_answered_from_hello_on() -> None:
    session = ServerSession("s1", LIMITS, hello_timeout=5.0)
    assert refused(session, Clock(1.5)) == "unexpected-message"
    send(session, Hello("subscribe", room="a"))
    answer = send(session, Clock(1.5), now=7.0)
    assert isinstance(answer, Reply)
    assert protocol.decode_server(answer.data) == Clock(1.5, 7.0)


def test_codes_are_unpacked() -> None:
    session = opened(Hello("decode", layers=3))
    codes = np.arange(12).reshape(3, 4)
    event = send(session, Codes(0, 4, bitstream.pack(codes)))
    assert isinstance(event, Arrived) and isinstance(event.item, Frames)
    assert np.array_equal(event.item.codes, codes)


@pytest.mark.parametrize(
    ("hello", "message", "code"),
    [
        (Hello("encode"), "text", "text-frame"),
        (Hello("encode"), bytes(100_001), "too-big"),
        (Hello("encode"), Hello("encode"), "unexpected-message"),
        (Hello("encode"), Codes(0, 1, bytes(8)), "unexpected-message"),
        (Hello("encode"), Audio(1, pcm(200)), "bad-seq"),
        (Hello("encode"), Audio(0, b"\0\0\0"), "bad-size"),
        (Hello("encode"), Audio(0, pcm(16_001)), "bad-size"),
        (Hello("encode"), Audio(0, pcm(200, np.nan)), "bad-audio"),
        (Hello("encode"), Audio(0, pcm(200, np.inf)), "bad-audio"),
        (Hello("encode"), Audio(0, pcm(200, 12_000.0)), "bad-audio"),
        (Hello("encode"), Voice(bytes(512)), "bad-voice"),
        (Hello("decode"), Audio(0, pcm(200)), "unexpected-message"),
        (Hello("decode"), Codes(0, 1, bytes(7)), "bad-size"),
        (Hello("decode"), Codes(0, 2, bytes(8)), "bad-size"),
        (Hello("decode", layers=3), Codes(0, 1, bytes(8)), "bad-size"),
        (Hello("decode"), Codes(1, 1, bytes(8)), "bad-seq"),
        (Hello("enroll"), Voice(bytes(1024)), "unexpected-message"),
        (Hello("subscribe", room="a"), Audio(0, pcm(200)), "unexpected-message"),
    ],
)
def test_what_a_role_does_not_take(hello: Hello, message: object, code: str) -> None:
    assert refused(opened(hello), message) == code  # type: ignore[arg-type]


def test_nothing_before_hello_and_nothing_after_end() -> None:
    assert refused(ServerSession("s1", LIMITS, 5.0), Audio(0, b"")) == "unexpected-message"
    assert refused(ServerSession("s1", LIMITS, 5.0), Hello("publish")) == "bad-field"
    session = opened(Hello("encode"))
    send(session, End())
    assert refused(session, Audio(0, b"")) == "unexpected-message"
    assert refused(session, End()) == "unexpected-message"


def timed_out(session: ServerSession, now: float) -> str | None:
    try:
        session.check(now)
    except ProtocolError as error:
        return error.code
    return None


def test_the_deadline_of_hello_runs_from_the_start_whatever_comes() -> None:
    session = ServerSession("s1", LIMITS, hello_timeout=5.0, started=100.0)
    session.listen(104.0)
    assert timed_out(session, 104.9) is None
    assert timed_out(session, 105.1) == "hello-timeout"


def test_silence_is_timed_only_while_the_server_waits() -> None:
    session = ServerSession("s1", LIMITS, hello_timeout=5.0)
    send(session, Hello("encode"), now=4.0)
    assert timed_out(session, 1000.0) is None
    session.listen(1000.0)
    assert timed_out(session, 1059.0) is None
    assert timed_out(session, 1061.0) == "idle-timeout"


def test_a_listener_may_be_silent() -> None:
    session = opened(Hello("subscribe", room="a"))
    session.listen(0.0)
    assert timed_out(session, 1e6) is None


def test_packets_are_cut_and_numbered() -> None:
    packets = Packetizer(size=3, pcm="s16", first_frame=10)
    assert packets.add(Sound(np.zeros(400, np.float32)), None) == []
    sent = packets.add(Sound(np.full(1000, 0.5, np.float32)), Stamps(t=1.0))
    messages = [protocol.decode_server(data) for data, _ in sent]
    assert [(m.seq, len(m.data) // 2) for m in messages if isinstance(m, Audio)] == [
        (10, 600),
        (13, 600),
    ]
    (last,) = [protocol.decode_server(data) for data, _ in packets.flush()]
    assert isinstance(last, Audio)
    assert (last.seq, len(last.data)) == (16, 400)
    assert packets.frames_out == 7
    assert packets.flush() == []


def test_a_voice_sends_what_came_before_it_first() -> None:
    packets = Packetizer(size=4, pcm="f32")
    codes = np.arange(6).reshape(6, 1)
    packets.add(Frames(codes), None)
    sent = packets.add(Timbre(np.ones(256, np.float32), exact=False), None)
    first, voice = [protocol.decode_server(data) for data, _ in sent]
    assert isinstance(first, Codes) and isinstance(voice, Voice)
    assert np.array_equal(bitstream.unpack(first.data, 6, first.n), codes)
    assert not voice.is_exact


def pausing(hello: Hello) -> tuple[ServerSession, CompactFraming]:
    """A session of version 2 that takes pauses, and its client's end of the wire."""
    session = ServerSession("s1", LIMITS, 5.0, framing=CompactFraming())
    client = CompactFraming()
    session.receive(client.to_server(replace(hello, version=2, pauses=True)), 0.0)
    session.open(LIVE, Latency(200, 200), hello.layers, pauses=True)
    return session, client


def test_frames_may_be_left_out_where_that_was_agreed() -> None:
    session, client = pausing(Hello("loopback", "codes", "codes"))
    codes = bitstream.pack(np.arange(48).reshape(6, 8))

    def say(message: protocol.ClientMessage, now: float) -> Arrived:
        event = session.receive(client.to_server(message), now)
        assert isinstance(event, Arrived)
        return event

    assert say(Codes(0, 8, codes), 0.1).before is None
    begins = say(Noise(16, bytes(5)), 0.2).item
    assert isinstance(begins, Pause) and (begins.frames, begins.noise) == (8, bytes(5))
    assert session.pause_due(0.25) == (None, pytest.approx(0.06))
    made, wait = session.pause_due(0.52)
    assert made is not None and made.frames == 18 and wait == pytest.approx(0.015)
    speech = say(Codes(48, 8, codes), 0.53)
    assert speech.before is not None and speech.before.frames == 14  # 18 of 32 were made
    assert session.pause_due(9.0) == (None, None)
    assert session.totals.frames_in == 56


def test_a_pause_that_came_late_shortens_the_next() -> None:
    session, client = pausing(Hello("loopback", "codes", "codes"))
    session.receive(client.to_server(Noise(1)), 0.0)
    made, _ = session.pause_due(0.5)
    assert made is not None and made.frames == 39
    for seq, wanted in ((31, 0), (51, 11)):
        event = session.receive(client.to_server(Noise(seq)), 0.5)
        assert isinstance(event, Arrived) and event.item.frames == wanted


def test_a_packet_that_is_late_is_no_longer_pause_for_who_takes_pauses() -> None:
    """Frames made in its place are for who wants one for every hop; they are not told as left out,
    and of those that were made in an outage no more than a packet is taken off the next pause."""
    session, client = pausing(Hello("loopback", "codes", "codes"))
    codes = bitstream.pack(np.arange(48).reshape(6, 8))
    session.receive(client.to_server(Codes(0, 8, codes)), 0.0)
    session.receive(client.to_server(Noise(16)), 0.1)
    made, _ = session.pause_due(0.25)
    assert made is not None and made.frames == 4 and session.send(made) == []
    speech = session.receive(client.to_server(Codes(16, 8, codes)), 0.25)
    assert isinstance(speech, Arrived) and speech.before is None
    data, _ = session.send(speech.item)[0]
    assert session.frames_out == 8
    packet = client.from_server(data, None)
    assert isinstance(packet, Codes) and packet.seq == 0  # the first that was passed on
    session.receive(client.to_server(Noise(24)), 0.35)
    made, _ = session.pause_due(30.0)
    assert made is not None and made.frames == MOST_AHEAD - 4
    session.receive(client.to_server(Codes(24, 8, codes)), 30.0)
    pause = session.receive(client.to_server(Noise(56)), 30.4)
    assert isinstance(pause, Arrived) and isinstance(pause.item, Pause)
    assert (pause.item.told, pause.item.frames) == (24, 24 - 8)


@pytest.mark.parametrize("seq", [89, 5000])
def test_a_pause_is_told_at_least_once_a_second(seq: int) -> None:
    session, client = pausing(Hello("loopback", "codes", "codes"))
    session.receive(client.to_server(Codes(0, 8, bytes(60))), 0.0)
    for message in (Noise(seq), Codes(seq, 1, bytes(8))):
        with pytest.raises(ProtocolError, match="every 80 frames, got"):
            session.receive(client.to_server(message), 0.0)


def test_nobody_leaves_out_frames_unasked() -> None:
    session = ServerSession("s1", LIMITS, 5.0, framing=CompactFraming())
    client = CompactFraming()
    hello = replace(Hello("loopback", "codes", "codes"), version=2)
    session.receive(client.to_server(hello), 0.0)
    session.open(LIVE, Latency(200, 200), 6, pauses=True)
    for message, code in ((Codes(3, 1, bytes(8)), "bad-seq"), (Noise(3), "unexpected-message")):
        with pytest.raises(ProtocolError) as caught:
            session.receive(client.to_server(message), 0.0)
        assert caught.value.code == code


def over_a_lossy_way(hello: Hello) -> tuple[ServerSession, CompactFraming]:
    """A session whose packets of codes may be lost, and its client's end of the wire."""
    session = ServerSession("s1", LIMITS, 5.0, framing=CompactFraming(lossy=True))
    client = CompactFraming(lossy=True)
    session.receive(client.to_server(replace(hello, version=2, pauses=True)), 0.0)
    session.open(LIVE, Latency(200, 200), hello.layers, pauses=True)
    return session, client


def repeating(at: int, codes: np.ndarray) -> Codes:
    """The packet of frames ``at`` to ``at + 4``, with the repeat of the four before them."""
    repeat = Repeat(4, 4, bitstream.pack(codes[:3, at - 4 : at])) if at else None
    return Codes(at, 4, bitstream.pack(codes[:, at : at + 4]), repeat=repeat)


CODES = np.random.default_rng(1).integers(0, 1024, (6, 32))


def test_a_lost_packet_is_filled_from_its_repeat_and_keeps_the_detail_before() -> None:
    session, client = over_a_lossy_way(Hello("loopback", "codes", "codes", redundancy=1))
    arrived = []
    for at in (0, 8, 12):
        assert session.receive(client.to_server(repeating(at, CODES)), 0.0) is None
        arrived += session.settled(0.0)
    got = [each.item for each in arrived]
    assert [type(each) for each in got] == [Packed, Reduced, Packed, Packed]
    parts = [each.codes for each in got if isinstance(each, Frames)]
    whole = np.concatenate(parts, axis=1)
    assert np.array_equal(whole[:3], CODES[:3, :16])
    assert np.array_equal(whole[3:, 4:8], CODES[3:, 3:4].repeat(4, 1))
    assert np.array_equal(got[1].heard, CODES[:3, 4:8])  # type: ignore[union-attr]
    assert session.totals.frames_in == 16 and session.patience(0.0) is None


def fewer_agreed(*, lossy: bool) -> tuple[ServerSession, CompactFraming]:
    """The server's end of a session of codes that may lack detail, and its client's framing."""
    session = ServerSession("s", LIMITS, 5.0, framing=CompactFraming(lossy=lossy))
    client = CompactFraming(lossy=lossy)
    hello = Hello("loopback", "codes", "codes", version=2, fewer_layers=True, frames_per_packet=4)
    session.receive(client.to_server(hello), 0.0)
    session.open(LIVE, Latency(200, 200), 6)
    return session, client


def test_packets_of_fewer_layers_come_and_go_with_the_detail_before_held() -> None:
    session, client = fewer_agreed(lossy=False)
    sent = [
        Codes(0, 4, bitstream.pack(CODES[:, :4])),
        Codes(4, 4, bitstream.pack(CODES[:3, 4:8]), layers=3),
        Codes(8, 4, bitstream.pack(CODES[:5, 8:12]), layers=5),
        Codes(12, 4, bitstream.pack(CODES[:, 12:16])),
    ]
    items = []
    for message in sent:
        arrived = session.receive(client.to_server(message), 0.0)
        assert isinstance(arrived, Arrived)
        items.append(arrived.item)
    assert [type(each) for each in items] == [Packed, Reduced, Reduced, Packed]
    assert isinstance(items[1], Reduced) and isinstance(items[2], Reduced)
    assert np.array_equal(items[1].heard, CODES[:3, 4:8])
    assert np.array_equal(items[1].codes[3:], CODES[3:, 3:4].repeat(4, 1))
    assert np.array_equal(items[2].codes[:5], CODES[:5, 8:12])
    assert (items[2].codes[5] == CODES[5, 3]).all()
    back = [data for item in items for data, _ in session.send(item)]
    assert [client.from_server(data, None) for data in back] == sent


def test_who_knows_no_fewer_layers_gets_all_of_them() -> None:
    packets = Packetizer(4, "f32", 0, CompactFraming(), Agreed(stamp_every=16))
    held = Reduced(CODES[:, :4])
    (data,) = (data for data, _ in packets.add(held, None))
    assert CompactFraming().from_server(data, None) == Codes(0, 4, bitstream.pack(CODES[:, :4]))


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize(
    ("fewer", "layers", "code", "says"),
    [
        (None, 3, "unexpected-message", "none were agreed on"),
        (True, 4, "bad-size", "fewer layers than the 4 agreed on, got 4"),
        (True, 3, "bad-size", "expected 4 bytes for 1 frames of 3 layers, got 8"),
    ],
)
def test_fewer_layers_that_cannot_be_are_refused(
    lossy: bool, fewer: bool | None, layers: int, code: str, says: str
) -> None:
    session = ServerSession("s", LIMITS, 5.0, framing=CompactFraming(lossy=lossy))
    client = CompactFraming(lossy=lossy)
    hello = Hello("loopback", "codes", "codes", version=2, fewer_layers=fewer, layers=4)
    session.receive(client.to_server(hello), 0.0)
    session.open(LIVE, Latency(200, 200), 4)
    with pytest.raises(ProtocolError, match=says) as caught:
        session.receive(client.to_server(Codes(0, 1, bytes(8), layers=layers)), 0.0)
    assert caught.value.code == code


def test_a_gap_without_a_repeat_is_concealed_and_then_quiet() -> None:
    session, client = over_a_lossy_way(Hello("loopback", "codes", "codes"))
    session.receive(client.to_server(repeating(0, CODES)), 0.0)
    session.settled(0.0)
    session.receive(client.to_server(Codes(24, 4, bitstream.pack(CODES[:, :4]))), 0.0)
    assert session.settled(0.0) == []
    wait = session.patience(0.0)
    assert wait is not None and 0.0 < wait < 0.1
    spoken, quiet, last = (each.item for each in session.settled(wait + 1e-6))
    assert isinstance(spoken, Reduced) and spoken.codes.shape == (6, 10)
    assert isinstance(quiet, Pause) and quiet.frames == 10
    assert isinstance(last, Frames) and session.totals.frames_in == 28


def test_pauses_hold_on_a_lossy_way_too_and_the_end_waits_for_nothing() -> None:
    session, client = over_a_lossy_way(Hello("loopback", "codes", "codes"))
    for message in (repeating(0, CODES), Noise(8, bytes(5)), Noise(60), Codes(68, 1, bytes(8))):
        assert session.receive(client.to_server(message), 1.0) is None
    items = [each.item for each in session.settled(1.0)]
    assert [item.frames for item in items] == [4, 4, 52]
    assert session.receive(client.to_server(End()), 1.0) == Ended()
    left = [each.item.frames for each in session.settled(1.0)]
    assert left == [8, 1] and session.totals.frames_in == 69
    assert session.receive(client.to_server(Codes(69, 1, bytes(8))), 1.1) is None
    assert session.settled(1.1) == []


@pytest.mark.parametrize(
    ("redundancy", "repeat", "code", "says"),
    [
        (None, Repeat(4, 4, bytes(15)), "unexpected-message", "none was agreed on"),
        (1, Repeat(4, 4, bytes(14)), "bad-size", "expected 15 bytes for a repeat of 4 frames"),
    ],
)
def test_a_repeat_that_cannot_be_is_refused(
    redundancy: int | None, repeat: Repeat, code: str, says: str
) -> None:
    hello = Hello("loopback", "codes", "codes", redundancy=redundancy)
    session, client = over_a_lossy_way(hello)
    message = Codes(4, 4, bytes(30), repeat=repeat)
    with pytest.raises(ProtocolError, match=says) as caught:
        session.receive(client.to_server(message), 0.0)
    assert caught.value.code == code


def test_what_goes_out_repeats_and_tells_a_pause_to_its_end_where_packets_may_be_lost() -> None:
    agreed = Agreed(stamp_every=16, pauses=True, redundancy=2, lossy=True)
    packets = Packetizer(4, "f32", 0, CompactFraming(), agreed)
    sent = [
        data
        for at in range(0, 12, 4)
        for data, _ in packets.add(Frames(CODES[:, at : at + 4]), None)
    ]
    pause = Pause(12, 6, [Frames(CODES)], 6, None)
    sent += [data for data, _ in packets.add(pause, None)]
    sent += [data for data, _ in packets.add(Reduced(CODES[:, 18:22]), None)]
    client = CompactFraming()
    first, second, third, told, last = [client.from_server(data, None) for data in sent]
    assert [isinstance(each, Codes) and each.repeat for each in (first, second)] == [None, None]
    assert third == Codes(
        8, 4, bitstream.pack(CODES[:, 8:12]), repeat=Repeat(8, 4, bitstream.pack(CODES[:3, :4]))
    )
    assert told == Noise(18) and isinstance(last, Codes) and last.repeat is not None
    assert last.repeat == Repeat(14, 4, bitstream.pack(CODES[:3, 4:8]))


def test_more_bytes_than_plain_codes_are_refused_with_a_coder_too() -> None:
    coder = FrameCoder(None)
    session = ServerSession("s1", LIMITS, 5.0, framing=CompactFraming())
    client = CompactFraming()
    session.receive(client.to_server(replace(Hello("publish", "codes", room="a"), version=2)), 0.0)
    session.open(LIVE, Latency(200, 200), 6, coder=coder)
    with pytest.raises(ProtocolError) as caught:
        session.receive(client.to_server(Codes(0, 1, bytes(9))), 0.0)
    assert caught.value.code == "bad-size"


def test_an_enrolled_voice_is_never_rounded() -> None:
    wishes = {"version": 2, "voices": "compact"}
    assert agree(replace(Hello("encode"), **wishes)).compact  # type: ignore[arg-type]
    assert not agree(replace(Hello("enroll"), **wishes)).compact  # type: ignore[arg-type]
    assert agree(Hello("encode", voices="compact", pauses=True)) == Agreed()
