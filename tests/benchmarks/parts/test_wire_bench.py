"""Bytes on the wire: computed ones are those of real messages, counted ones those of the kernel."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from benchmarks.kit.subjects import speech
from benchmarks.load.generator import generate
from benchmarks.load.session import Load, Tally
from benchmarks.parts import wire
from facodec.codec import Codec
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire import protocol
from streaming.wire.protocol import Codes, Hello


@pytest.mark.parametrize("frames", [1, 8])
@pytest.mark.parametrize("stamped", [True, False])
def test_headers_are_those_of_the_websocket_library(frames: int, stamped: bool) -> None:
    row = wire.compute(frames, stamped)
    assert row["codes"] == -(-60 * frames // 8)
    for way, mask in (("up", True), ("down", False)):
        message = bytes(row[way]["message"])
        framed = Frame(Opcode.BINARY, message).serialize(mask=mask)
        assert row[way]["framed"] == len(framed)
        assert row[way]["on_wire"] == len(framed) + wire.IP_TCP


def test_a_packet_without_stamps_is_the_message_of_the_protocol() -> None:
    row = wire.compute(4, stamped=False)
    codes = Codes(4800, 4, bytes(protocol.codes_size(6, 4)))
    assert row["up"]["message"] == row["down"]["message"] == len(protocol.encode(codes))


def test_rates_fall_towards_that_of_the_codes() -> None:
    rates = [wire.compute(n, stamped=False)["up"]["on_wire_kbit_s"] for n in wire.SIZES]
    assert rates == sorted(rates, reverse=True) and rates[-1] > wire.CODES_KBIT
    assert wire.rate(60 // 8, 1) == pytest.approx(4.48)  # seven whole bytes every 12.5 ms


def test_counted_bytes_are_those_that_were_sent(untrained: Codec) -> None:
    if not hasattr(socket, "TCP_INFO"):
        pytest.skip("this system does not tell a connection's bytes")

    async def scenario() -> Tally:
        async with Server(ServerSettings(port=0), {"live": untrained}) as server:
            hello = Hello("loopback", "codes", "codes", frames_per_packet=2)
            load = Load(server.url, 1, 0.5, hello, stamped=False, settle=0.0)
            return await generate(load, speech(), asyncio.Event())

    tally = asyncio.run(scenario())
    (counted,) = tally.tcp
    packets = tally.sent // 2
    framed = [
        len(protocol.encode(Codes(2 * i, 2, bytes(15)))) + wire.WEBSOCKET["up"]
        for i in range(packets)
    ]
    # The newest packets may not have been acknowledged yet when the kernel is asked.
    assert sum(framed[:-4]) <= counted["bytes_up"] <= sum(framed)
    assert counted["data_segments_up"] <= counted["segments_up"]
    assert packets - 1 <= counted["data_segments_up"] <= packets


def counts(**changes: int) -> dict[str, int]:
    zero = {
        f"{what}_{way}": 0
        for what in ("bytes", "segments", "data_segments")
        for way in ("up", "down")
    }
    return {**zero, **changes}


def test_segments_that_only_acknowledge_count_too() -> None:
    tally = {
        "lost": 0, "outcomes": {"done": 1}, "sent": 80,
        "tcp": [counts(bytes_up=1000, segments_up=30, data_segments_up=20)],
    }  # fmt: skip
    row = wire.account(tally, 4, stamped=True)
    assert row["up"]["framed_kbit_s"] == pytest.approx(8.0)
    assert row["up"]["on_wire_kbit_s"] == pytest.approx(8.0 + 30 * 52 * 8e-3)
    assert row["up"]["acknowledgements_kbit_s"] == pytest.approx(10 * 52 * 8e-3)


def test_a_session_that_lost_frames_tells_no_rate() -> None:
    tally: dict[str, Any] = {"lost": 1, "outcomes": {"done": 1}, "sent": 80, "tcp": []}
    with pytest.raises(ValueError, match="lost 1"):
        wire.account(tally, 1, stamped=True)


def test_tables_and_charts_hold_every_size() -> None:
    result = {
        "computed": [wire.compute(n, s) for s in (True, False) for n in wire.SIZES],
        "measured": [],
    }
    (table,) = wire.tables(result)
    assert [row[0] for row in table.rows] == [*wire.SIZES, *wire.SIZES]
    assert table.rows[0][6] is None  # nothing was counted
    (chart,) = wire.charts(result)
    assert all(list(xs) == list(wire.SIZES) for xs, _ in chart.lines.values())
