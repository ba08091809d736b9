from __future__ import annotations

from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.wire import protocol
from streaming.wire.protocol import (
    Audio,
    Clock,
    Codes,
    Done,
    End,
    Error,
    Hello,
    LatencyInfo,
    Limits,
    ProtocolError,
    Ready,
    Stamps,
    Voice,
)

READY = Ready("s1", "live", 16000, 200, 6, LatencyInfo(200, 200), Limits(1000, 80, 2.0, 60.0))
CLIENT_MESSAGES = [
    Hello("loopback"),
    Hello("convert", "pcm", "codes", "s16", "live", "anna", None, 3, 8, "secret", 5),
    Hello("publish", room="tea.room-1", voice=bytes(1024)),
    Hello("publish", room="k\u00fcche", identity="live@0123456789ab"),
    Hello("convert", voice="j\u00f6rg", pitch=123.5),
    Hello("convert", voice="anna", pitch=55.0),
    Hello("convert", voice="anna", talker="k\u00fcche"),
    Hello("loopback", talker=bytes(1024)),
    Audio(0, b"\0\0\0\0"),
    Audio(7, b"", t=1.5),
    Codes(3, 2, bytes(15), t=0.0),
    Voice(bytes(512)),
    Voice(bytes(1024)),
    Voice(bytes(1024), "ns3@0123456789ab"),
    Clock(1.0),
    End(),
]
SERVER_MESSAGES = [
    READY,
    replace(READY, identity="live@0123456789ab"),
    Audio(0, b"\0\0", stamps=Stamps(1.0, 0.1, 0.2, 0.3)),
    Codes(3, 2, bytes(15), stamps=Stamps()),
    Voice(bytes(512)),
    Clock(1.0, 2.0),
    Error("bad-seq", "expected 3, got 4"),
    Done(1, 2, 3, 4, 0.5, 0.6, 0.7, "publisher-left"),
    Done(1, 2, talker=bytes(1024), pitch=118.5),
]


@pytest.mark.parametrize("message", CLIENT_MESSAGES, ids=repr)
def test_client_messages_come_back_equal(message: protocol.ClientMessage) -> None:
    assert protocol.decode_client(protocol.encode(message)) == message


@pytest.mark.parametrize("message", SERVER_MESSAGES, ids=repr)
def test_server_messages_come_back_equal(message: protocol.ServerMessage) -> None:
    assert protocol.decode_server(protocol.encode(message)) == message


def test_every_kind_of_value_may_be_ignored() -> None:
    """Values that are counted before they are decoded have to be walked over without a slip."""
    sizes = (0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536)
    numbers = [0, 127, 128, 2**16, 2**32, 2**63, -1, -32, -33, -200, -(2**20), -(2**40), 0.5]
    odd = [None, True, False, *numbers, *map(bytes, sizes), *("x" * size for size in sizes)]
    nested = [{"a": [1, {"b": []}]}, list(range(20)), {str(i): i for i in range(20)}]
    for value in (*odd, *nested, odd[:13], msgpack.Timestamp(1, 2)):
        try:
            message = protocol.decode_client(msgpack.packb({"x": value, "type": "end"}))
        except ProtocolError as error:
            assert isinstance(value, msgpack.Timestamp) and "ext" in error.sentence
        else:
            assert message == protocol.End()


def test_unknown_fields_are_ignored_and_nil_is_missing() -> None:
    data = {"type": "hello", "version": 1, "role": "encode", "colour": "red", "voice": None}
    assert protocol.decode_client(msgpack.packb(data)) == Hello("encode")


def packed(**fields: object) -> bytes:
    return msgpack.packb(fields)


HELLO = {"type": "hello", "version": 1, "role": "encode"}


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "bad-message", "msgpack"),
        (b"\xc1garbage", "bad-message", "msgpack"),
        (msgpack.packb([1, 2]), "bad-message", "map"),
        (msgpack.packb({"role": "encode"}), "bad-message", "type"),
        (msgpack.packb({"type": "end"}) + b"\0", "bad-message", "msgpack"),
        (b"\x91" * 5000, "bad-message", "msgpack"),
        (msgpack.packb({"type": msgpack.ExtType(4, b"x")}), "bad-message", "msgpack"),
        (packed(type="sing"), "unknown-type", "'sing'"),
        (packed(type="ready"), "unknown-type", "'ready'"),
        (packed(**{**HELLO, "version": 2}), "bad-version", "version 2"),
        (packed(type="hello", role="encode"), "bad-field", "'version' is missing"),
        (packed(**{**HELLO, "role": "sing"}), "bad-field", "'sing'"),
        (packed(**{**HELLO, "input": "mp3"}), "bad-field", "'mp3'"),
        (packed(**{**HELLO, "output": "pcm"}), "bad-role", "pcm -> codes"),
        (packed(**{**HELLO, "layers": 2}), "bad-field", "from 3 to 6"),
        (packed(**{**HELLO, "layers": True}), "bad-field", "integer"),
        (packed(**{**HELLO, "frames_per_packet": 9}), "bad-field", "from 1 to 8"),
        (packed(**{**HELLO, "room": "../etc"}), "bad-field", "'../etc'"),
        (packed(**{**HELLO, "voice": "../etc"}), "bad-field", "'../etc'"),
        (packed(**{**HELLO, "voice": 3}), "bad-field", "1024 bytes"),
        (packed(**{**HELLO, "voice": b"123"}), "bad-voice", "1024"),
        (packed(**{**HELLO, "token": "x" * 1000}), "bad-field", "256"),
        (packed(type="audio", seq=-1, data=b""), "bad-field", "'seq'"),
        (packed(type="audio", seq=0, data="text"), "bad-field", "binary"),
        (packed(type="audio", seq=0, data=b"", t=float("nan")), "bad-field", "finite"),
        (packed(type="audio", seq=0, data=b"", stamps=3), "bad-field", "a map"),
        (packed(type="codes", seq=0, n=0, data=b""), "bad-field", "from 1 to 80"),
        (packed(type="voice", data=b"123"), "bad-voice", "512"),
        (packed(type="voice", data=b"\xff" * 512), "bad-voice", "got nan"),
        (packed(type="voice", data=b"\x00\x00\x80\x7e" * 256), "bad-voice", "got 8.50706e"),
        (packed(type="clock", t0=0.0, more=[0] * 250), "bad-message", "256 msgpack values"),
        (packed(type="clock", t0=0.0, more=[[0] * 15] * 16), "bad-message", "256 msgpack values"),
        (packed(**{**HELLO, "resume": ""}), "bad-field", "'resume'"),
        (packed(**{**HELLO, "pitch": 54.9}), "bad-field", "expected a number from 55 to 450"),
        (packed(**{**HELLO, "pitch": 450.5}), "bad-field", "got 450.5"),
        (packed(**{**HELLO, "pitch": float("nan")}), "bad-field", "'pitch'"),
        (packed(**{**HELLO, "pitch": "high"}), "bad-field", "'pitch'"),
        (packed(**{**HELLO, "pitch": True}), "bad-field", "'pitch'"),
        (packed(**{**HELLO, "talker": "../etc"}), "bad-field", "'../etc'"),
        (packed(**{**HELLO, "talker": 3}), "bad-field", "1024 bytes"),
        (packed(**{**HELLO, "talker": bytes(512)}), "bad-voice", "hello's talker of 1024 bytes"),
        (packed(**{**HELLO, "talker": b"\xff" * 1024}), "bad-voice", "got nan"),
        (packed(**{**HELLO, "talker": b"\x00\x00\x80\x7e" * 256}), "bad-voice", "got 8.50706e"),
        (packed(**{**HELLO, "identity": "live@"}), "bad-field", "'identity'"),
        (packed(**{**HELLO, "identity": b"live"}), "bad-field", "'identity'"),
        (packed(**{**HELLO, "identity": "x" * 500}), "bad-field", "'identity'"),
        (packed(type="voice", data=bytes(512), identity="live@0"), "bad-field", "'identity'"),
        (packed(**{**HELLO, "room": "a/b"}), "bad-field", "'a/b'"),
        (packed(**{**HELLO, "room": "a b"}), "bad-field", "letters, digits"),
        (packed(**{**HELLO, "room": "a\u202eb"}), "bad-field", "'room'"),
        (packed(**{**HELLO, "room": "a\nb"}), "bad-field", "'room'"),
        (packed(**{**HELLO, "room": "\u3164"}), "bad-field", "'room'"),
        (packed(**{**HELLO, "room": "\u0301a"}), "bad-field", "'room'"),
        (packed(**{**HELLO, "room": "\u540d" * 65}), "bad-field", "64 letters"),
        (packed(type="clock"), "bad-field", "'t0' is missing"),
    ],
)
def test_bad_client_messages_are_named(data: bytes, code: str, says: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol.decode_client(data)
    assert caught.value.code == code
    assert says in caught.value.sentence
    assert 1000 < caught.value.close_code < 1015


@given(st.binary(max_size=200))
def test_garbage_never_raises_anything_else(data: bytes) -> None:
    for decode in (protocol.decode_client, protocol.decode_server):
        try:
            decode(data)
        except ProtocolError as error:
            assert error.code in protocol.CLOSE_CODES


@given(st.data())
def test_damaged_messages_never_raise_anything_else(data: st.DataObject) -> None:
    whole = bytearray(protocol.encode(data.draw(st.sampled_from(CLIENT_MESSAGES))))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        protocol.decode_client(bytes(whole))
    except ProtocolError as error:
        assert error.code in protocol.CLOSE_CODES


def test_sentences_stay_short_whatever_was_sent() -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol.decode_client(packed(**{**HELLO, "role": "x" * 100_000}))
    assert len(caught.value.sentence) < 300


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("k\u00fcche", "k\u00fcche"),
        ("ku\u0308che", "k\u00fcche"),
        ("o\u0308" * 64, "\u00f6" * 64),
        ("\u53a8\u623f-2", "\u53a8\u623f-2"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"),
    ],
)
def test_names_of_any_script_in_one_spelling(given: str, known: str) -> None:
    sent = packed(**{**HELLO, "role": "publish", "room": given, "voice": given})
    hello = protocol.decode_client(sent)
    assert isinstance(hello, Hello) and (hello.room, hello.voice) == (known, known)


def test_omitted_formats_are_those_of_the_role() -> None:
    assert Hello("encode").formats() == ("pcm", "codes")
    assert Hello("loopback", input="codes").formats() == ("codes", "codes")
    assert Hello("convert", output="codes").formats() == ("pcm", "codes")
    assert Hello("subscribe").formats() == (None, "pcm")


def test_pcm_goes_both_ways() -> None:
    samples = np.array([0.0, 0.5, -1.0, 0.999], np.float32)
    as_floats = protocol.pcm_to_bytes(samples, "f32")
    assert np.array_equal(protocol.pcm_from_bytes(as_floats, "f32"), samples)
    as_ints = protocol.pcm_from_bytes(protocol.pcm_to_bytes(samples, "s16"), "s16")
    assert np.abs(as_ints - samples).max() <= 0.5 / 32768
    loud = protocol.pcm_to_bytes(np.array([2.0, -2.0]), "s16")
    assert np.frombuffer(loud, "<i2").tolist() == [32767, -32768]


@pytest.mark.parametrize(("pcm", "size"), [("f32", 6), ("s16", 3)])
def test_half_a_sample_is_refused(pcm: protocol.PcmFormat, size: int) -> None:
    with pytest.raises(ProtocolError, match=f"got {size} bytes"):
        protocol.pcm_from_bytes(bytes(size), pcm)


def test_voice_forms() -> None:
    vector = np.linspace(-1.0, 1.0, 256).astype(np.float32)
    exact, estimate = Voice.exact(vector), Voice.estimate(vector)
    assert exact.is_exact and not estimate.is_exact
    assert np.array_equal(exact.vector(), vector)
    assert np.array_equal(estimate.vector(), vector.astype(np.float16).astype(np.float32))
