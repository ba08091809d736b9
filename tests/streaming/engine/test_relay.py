"""Codes that are only passed on wait for no model, and are not taken apart on the way."""

from __future__ import annotations

import numpy as np
import pytest

from facodec import bitstream
from facodec.config import Latency
from facodec.identity import ModelIdentity
from streaming.engine.engine import Engine
from streaming.engine.pipeline import Given, passes_on
from streaming.engine.streams import Outcome
from streaming.wire.agreed import Agreed
from streaming.wire.framing import CompactFraming
from streaming.wire.media import Frames, Packed, Timbre, join
from streaming.wire.packets import Packetizer
from streaming.wire.protocol import Codes, Hello, Limits
from streaming.wire.session import Arrived, ServerSession

CODES = np.random.default_rng(0).integers(0, 1024, (6, 5))
PACKED = Packed(bitstream.pack(CODES), 6, 5)
VOICE = np.linspace(-1, 1, 256, dtype=np.float32)


def test_what_is_passed_on_is_there_at_once() -> None:
    engine, got = Engine(), list[Outcome]()
    relay = engine.relay(Given(VOICE), got.append)
    assert (engine.streams, engine.load) == (1, 0.0)
    relay.submit(PACKED, 1.5)
    ((voice, frames),) = (outcome.media for outcome in got)
    assert isinstance(voice, Timbre) and voice.exact and frames is PACKED and got[0].t == 1.5
    relay.submit(Timbre(VOICE, exact=False))  # an estimate, which the exact voice outranks
    assert got[1].media == () and relay.backlog == 0
    relay.end()
    assert got[2].ended and engine.streams == 0
    relay.submit(PACKED)
    relay.end()
    assert len(got) == 3


@pytest.mark.parametrize(
    ("hello", "relays"),
    [
        (Hello("publish", "codes", room="a"), True),
        (Hello("publish", "pcm", room="a"), False),
        (Hello("publish", "codes", room="a", voice="anonymous"), False),
        (Hello("loopback", "codes", "codes"), False),  # as fast as its client likes, to itself
        (Hello("decode"), False),
    ],
)
def test_only_published_codes_are_passed_on(hello: Hello, relays: bool) -> None:
    assert (passes_on(hello, None) is not None) == relays


def test_a_packet_goes_out_as_it_came() -> None:
    packets = Packetizer(5, "s16", 0, CompactFraming(), Agreed())
    ((message, frames),) = packets.add(PACKED, None)
    assert frames == 5 and message.endswith(PACKED.data) and "codes" not in vars(PACKED)
    whole = join([PACKED, Frames(CODES), PACKED])
    assert len(whole) == 1 and isinstance(whole[0], Frames)
    np.testing.assert_array_equal(whole[0].codes, np.concatenate([CODES] * 3, axis=1))


def test_what_lies_behind_the_last_code_goes_to_nobody() -> None:
    clean = bitstream.pack(CODES[:, :1])
    dirty = clean[:-1] + bytes([clean[-1] | 5])
    assert bitstream.is_padded(clean, 6, 1) and not bitstream.is_padded(dirty, 6, 1)
    assert bitstream.is_padded(b"", 6, 0) and bitstream.is_padded(bitstream.pack(CODES[:4]), 4, 5)
    framing = CompactFraming()
    session = ServerSession("id", Limits(9999, 80, 5.0, 30.0), 5.0, 0.0, CompactFraming())
    session.receive(framing.to_server(Hello("publish", "codes", room="a", version=2)), 0.0)
    session.open(ModelIdentity("live"), Latency(200, 200), 6)
    arrived = session.receive(framing.to_server(Codes(0, 1, dirty)), 0.0)
    assert isinstance(arrived, Arrived) and type(arrived.item) is Frames
    assert bitstream.pack(arrived.item.codes) == clean
