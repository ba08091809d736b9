"""``facodec.v2`` byte by byte: any message comes back, anything malformed is a ProtocolError."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.wire import binary, protocol
from streaming.wire.framing import CompactFraming, Framing, framing_of
from streaming.wire.protocol import (
    Audio,
    Clock,
    Codes,
    Hello,
    LatencyInfo,
    Limits,
    Noise,
    ProtocolError,
    Ready,
    Repeat,
    Stamps,
    Voice,
)

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors.json").read_text())
READY = Ready("s1", "live", 16000, 200, 6, LatencyInfo(200, 200), Limits(1000, 80, 2.0, 60.0))
NOW = 1000.0
LAST_TICK = round(NOW / binary.TICK)
HALF = binary.duration(binary.short_duration(0.5))
times = st.integers(0, 14 * 4000).map(lambda ticks: (LAST_TICK - ticks) * binary.TICK)
payloads = st.binary(max_size=700)
counts = st.integers(1, 80)
gaps = st.integers(0, 5000)


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[int, int, bytes, float | None]]:
    """Packets in order with gaps between them: seq, frames, data, time."""
    seq, found = draw(st.integers(0, 100_000)), []
    for _ in range(draw(st.integers(1, 20))):
        frames = draw(counts)
        found.append((seq, frames, draw(payloads), draw(st.none() | times)))
        seq += frames + draw(gaps)
    return found


def opened(first: int = 0) -> tuple[CompactFraming, CompactFraming]:
    """A client's framing and a server's, after a ``ready`` for frames from ``first`` on."""
    client, server = CompactFraming(), CompactFraming()
    client.from_server(server.to_client(replace(READY, version=2, first=first)), None)
    return client, server


@given(streams())
def test_codes_come_up_as_they_were_sent(
    packets: list[tuple[int, int, bytes, float | None]],
) -> None:
    client, server = opened()
    shift = packets[0][0]  # a client's stream begins at 0
    for seq, frames, data, t in packets:
        sent = Codes(seq - shift, frames, data, t)
        raw = client.to_server(sent)
        assert len(raw) == 3 + len(data) + (0 if t is None else 2)
        assert server.from_client(raw, NOW) == sent


@given(streams())
def test_codes_come_down_as_they_were_sent(
    packets: list[tuple[int, int, bytes, float | None]],
) -> None:
    client, server = opened(packets[0][0])
    for seq, frames, data, t in packets:
        sent = Codes(seq, frames, data, stamps=None if t is None else Stamps(t, 0.0, HALF, 0.0))
        raw = server.to_client(sent)
        assert len(raw) == 3 + len(data) + (0 if t is None else 5)
        assert client.from_server(raw, NOW) == sent


@given(counts, payloads, st.integers(3, 5), st.booleans())
def test_codes_of_fewer_layers_take_one_byte_more(
    frames: int, data: bytes, layers: int, repeated: bool
) -> None:
    client, server = opened()
    repeat = Repeat(4, 2, bytes(8)) if repeated and frames <= 8 else None
    sent = Codes(40, frames, data, repeat=repeat, layers=layers)
    raw = client.to_server(sent)
    assert raw == server.to_client(sent) and binary.is_codes(raw)
    assert raw[1:] == CompactFraming().to_server(replace(sent, layers=None))
    assert server.from_client(raw, NOW) == client.from_server(raw, NOW) == sent


@given(st.binary(max_size=64).map(lambda part: part * 4), st.none() | times, st.integers(0, 99))
def test_sound_lies_where_typed_arrays_can_take_it(data: bytes, t: float | None, seq: int) -> None:
    client, server = opened()
    up, down = Audio(seq, data, t), Audio(seq, data, stamps=None if t is None else Stamps(t))
    assert client.to_server(up)[4 : 4 + len(data)] == data
    assert server.from_client(client.to_server(up), NOW) == up
    assert client.from_server(server.to_client(down), NOW) == down


@given(gaps, st.sampled_from([b"", bytes(range(5))]))
def test_pauses_come_both_ways(seq: int, data: bytes) -> None:
    client, server = opened()
    raw = client.to_server(Noise(seq, data))
    assert raw == server.to_client(Noise(seq, data)) and len(raw) == 3 + len(data)
    assert server.from_client(raw, NOW) == client.from_server(raw, NOW) == Noise(seq, data)


@given(st.floats(0, 40))
def test_durations_keep_their_size(seconds: float) -> None:
    back = binary.duration(binary.short_duration(seconds))
    assert back == pytest.approx(min(seconds, binary.LONGEST / 16000), rel=0.032, abs=0.5 / 16000)


def test_every_byte_of_a_duration_comes_back() -> None:
    assert all(binary.short_duration(binary.duration(byte)) == byte for byte in range(256))


def test_a_listener_without_a_clock_cannot_tell_the_time_of_a_stamp() -> None:
    client, server = opened()
    raw = server.to_client(Codes(0, 1, bytes(8), stamps=Stamps(NOW, HALF)))
    assert client.from_server(raw, None) == Codes(0, 1, bytes(8), stamps=Stamps(None, HALF))


@given(st.binary(max_size=300))
def test_garbage_is_a_protocol_error_or_a_message(data: bytes) -> None:
    for read in (
        lambda d: opened()[1].from_client(d, NOW),
        lambda d: opened()[0].from_server(d, NOW),
    ):
        try:
            read(data)
        except ProtocolError as error:
            assert error.code in protocol.CLOSE_CODES


@given(st.data())
def test_damaged_messages_are_a_protocol_error_or_a_message(data: st.DataObject) -> None:
    vector = data.draw(st.sampled_from(VECTORS))
    whole = bytearray.fromhex(vector["hex"])
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    client, server = opened()
    try:
        server.from_client(cut, NOW) if vector["side"] == "client" else client.from_server(cut, NOW)
    except ProtocolError as error:
        assert error.code in protocol.CLOSE_CODES


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"\x00", "unknown-type", "0x00"),
        (b"\x51abc", "unknown-type", "0x51"),
        (b"\x01\x00", "bad-size", "3 bytes or more, got 2"),
        (b"\x01\x00\x80\x01", "bad-size", "5 bytes or more, got 4"),
        (b"\x60\x00\x00", "bad-size", "4 bytes or more, got 3"),
        (b"\x63\x00\x00abcd", "bad-size", "got 7"),
        (b"\x63\x00\x80ab", "bad-size", "expected a pause of 3 bytes"),
        (b"\x61abc", "bad-voice", "got 4"),
        (b"\x70\x02\x00\x02", "bad-size", "5 bytes or more, got 4"),
        (b"\x70\x02\x80\x02\x00a", "bad-size", "7 bytes or more, got 6"),
        (
            b"\x70\x02\x00\x02\x05abcde",
            "bad-size",
            "at most 4 bytes for a repeat",
        ),
        (b"\x70\x02\x00\x02\x04abc", "bad-size", "a repeat of 4 bytes, got 3 bytes"),
        (b"\x71\x02\x00\x01\x28" + bytes(16), "bad-seq", "earlier frames, got 2 from 1 before"),
        (b"\x78\x02\x00\x02\x04abcd", "unknown-type", "0x78"),
        (b"\x67\x01\x00\x00abcd", "unknown-type", "0x67"),
        (b"\x64", "unknown-type", "expected codes after byte 0x64"),
        (b"\x64\x65\x01\x00\x00abcd", "unknown-type", "expected codes after byte 0x64"),
        (b"\x64\x60\x00\x00\x00abcd", "unknown-type", "expected codes after byte 0x64"),
        (b"\x66\x01\x00", "bad-size", "3 bytes or more, got 2"),
        (protocol.encode(Codes(0, 1, bytes(8))), "unknown-type", "'codes' is no msgpack message"),
        (protocol.encode(Audio(0, bytes(8))), "unknown-type", "'audio' is no msgpack message"),
        (protocol.encode(Hello("encode")), "bad-version", "version 2, got version 1"),
        (b"", "bad-message", "msgpack"),
    ],
)
def test_bad_messages_are_named(data: bytes, code: str, says: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        CompactFraming().from_client(data, NOW)
    assert caught.value.code == code and says in caught.value.sentence


@given(st.permutations(range(40)), st.integers(0, 100_000))
def test_codes_that_overtake_each_other_keep_their_place(order: list[int], first: int) -> None:
    client, server = CompactFraming(lossy=True), CompactFraming(lossy=True)
    client.from_server(server.to_client(replace(READY, version=2, first=first)), None)
    repeat = Repeat(4, 2, bytes(8))
    sent = [Codes(first + 4 + 2 * at, 2, bytes([at]), repeat=repeat) for at in order]
    assert [client.from_server(server.to_client(each), NOW) for each in sent] == sent


def test_pauses_are_nothing_that_version_1_knows() -> None:
    with pytest.raises(ProtocolError, match="unknown message type 'noise'"):
        Framing().from_client(protocol.encode(Noise(3)), NOW)


def test_the_subprotocol_chooses_the_framing() -> None:
    assert [framing_of(name).version for name in (*protocol.VERSIONS, None)] == [2, 1, 1]


def test_control_messages_stay_msgpack() -> None:
    client, server = opened()
    hello = replace(Hello("encode", voices="compact", stamps=4, coder="01234567"), version=2)
    assert client.to_server(hello) == protocol.encode(hello)
    assert server.from_client(protocol.encode(hello), NOW) == hello
    assert server.from_client(client.to_server(Clock(1.0)), NOW) == Clock(1.0)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["says"])
def test_vectors(vector: dict[str, Any]) -> None:
    """The bytes that other languages can hold their own code against."""
    client, server = opened(vector["first"])
    client.compact_voices = server.compact_voices = True
    raw, wanted = bytes.fromhex(vector["hex"]), message_of(vector)
    got: Any
    if vector["side"] == "client":
        got, again = server.from_client(raw, vector["now"]), client.to_server(wanted)
    else:
        got, again = client.from_server(raw, vector["now"]), server.to_client(wanted)
    assert got == wanted
    if not isinstance(wanted, Voice):  # which is rounded, and may be rounded in several ways
        assert again == raw


def message_of(vector: dict[str, Any]) -> Any:
    fields = dict(vector["message"])
    kind = {"audio": Audio, "codes": Codes, "voice": Voice, "noise": Noise}[fields.pop("type")]
    if kind is Voice:
        values = np.array(fields["values"], np.float32)
        return Voice.exact(values) if fields["chosen"] else Voice.estimate(values)
    if "data" in fields:
        fields["data"] = bytes.fromhex(fields["data"])
    if "repeat" in fields:
        repeat = fields["repeat"]
        fields["repeat"] = Repeat(**{**repeat, "data": bytes.fromhex(repeat["data"])})
    if "stamps" in fields:
        fields["stamps"] = Stamps(**fields["stamps"])
    return kind(**fields)


@pytest.mark.parametrize(
    "voice",
    [Voice("rowan"), Voice(Voice.exact(np.ones(256, np.float32)).data, shift=5.0)],
    ids=["named", "moved"],
)
def test_a_voice_that_says_more_than_a_timbre_is_not_made_compact(voice: Voice) -> None:
    client, server = opened()
    client.compact_voices = server.compact_voices = True
    assert server.from_client(client.to_server(voice), NOW) == voice
