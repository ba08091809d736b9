"""``facodec.v2`` through the real server: fewer bytes, the same codes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import numpy as np
import pytest

from clients.library.connection import Session, connect
from clients.library.packets import AudioPacket, CodesPacket, Packet, PausePacket, VoicePacket
from facodec.codec import Codec
from facodec.link.pauses import pause_frames
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire import protocol

PATIENCE = 60.0


def run(work: Awaitable[Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))  # type: ignore[arg-type]


def server(codec: Codec) -> Server:
    return Server(ServerSettings(port=0, max_sessions=64), {codec.name: codec})


async def everything(session: Session) -> list[Packet]:
    return [packet async for packet in session]


def codes_of(packets: list[Packet]) -> np.ndarray:
    parts = [packet.codes for packet in packets if isinstance(packet, CodesPacket)]
    return np.concatenate(parts, axis=1)


async def relay(
    codec: Codec, codes: np.ndarray, size: int, options: dict[str, Any], *heard: dict[str, Any]
) -> tuple[Session, list[tuple[Session, list[Packet]]]]:
    """Codes (K, n) published in packets of ``size``, and what listeners with these options get."""
    async with server(codec) as running:
        url = running.url
        listeners = [connect(url, role="subscribe", room="tea", **each) for each in heard]
        async with connect(url, role="publish", input="codes", room="tea", **options) as out:
            sessions = [await each.__aenter__() for each in listeners]
            waiting = [asyncio.create_task(everything(session)) for session in sessions]
            for at in range(0, codes.shape[1], size):
                await out.send_codes(codes[:, at : at + size], captured=100.0)
            await out.finish()
        packets = await asyncio.gather(*waiting)
        for each in listeners:
            await each.__aexit__(None, None, None)
    return out, list(zip(sessions, packets, strict=True))


def test_codes_reach_all_listeners_in_the_bytes_that_each_knows(
    live: Codec, hello: np.ndarray
) -> None:
    codes = np.asarray(live.encode(hello[: 200 * 160]).codes)
    coded = {"coder": live.coder, "frames_per_packet": 8}
    plain: dict[str, Any] = {"output": "codes", "frames_per_packet": 4}
    out, ((same, first), (other, second), (_, third)) = run(
        relay(live, codes, 8, coded, {"output": "codes", **coded}, plain, {"output": "pcm"})
    )
    assert np.array_equal(codes_of(first), codes) and np.array_equal(codes_of(second), codes)
    assert out.ready.version == 2 and out.ready.coder == same.ready.coder == live.coder.identity
    assert other.ready.coder is None
    sizes = [len(live.coder.encode(codes[:, at : at + 8])) for at in range(0, 160, 8)]
    media = sum(sizes) + 20 * 3
    assert media < same.wire.bytes_down - len(protocol.encode(same.ready)) < media + 60 * 8
    assert sum(len(p.samples) for p in third if isinstance(p, AudioPacket)) == 160 * 200


def test_a_publisher_without_a_coder_is_heard_plainly(live: Codec) -> None:
    codes = np.arange(6 * 16).reshape(6, 16)
    _, ((heard, packets),) = run(
        relay(live, codes, 8, {}, {"output": "codes", "coder": live.coder})
    )
    assert heard.ready.coder is None and np.array_equal(codes_of(packets), codes)


def test_one_packet_in_16_is_stamped_and_its_time_comes_back(untrained: Codec) -> None:
    codes = np.arange(6 * 40).reshape(6, 40)

    async def scenario() -> list[Packet]:
        async with server(untrained) as running:
            options: dict[str, Any] = {"input": "codes", "output": "codes"}
            async with connect(running.url, role="loopback", **options) as session:
                for at in range(40):
                    await session.send_codes(codes[:, at : at + 1], captured=session._now())
                await session.finish()
                return await everything(session)

    stamped = [p.seq for p in run(scenario()) if isinstance(p, CodesPacket) and p.times.sent]
    assert stamped == [0, 16, 32]


def test_voices_go_out_by_a_budget_and_are_nearly_the_same(live: Codec, hello: np.ndarray) -> None:
    voice = np.asarray(live.encode(hello).timbre)

    async def scenario() -> list[Packet]:
        async with server(live) as running:
            options: dict[str, Any] = {"room": "tea", "voices": "compact"}
            async with (
                connect(running.url, role="publish", input="codes", **options) as out,
                connect(running.url, role="subscribe", output="codes", **options) as listener,
            ):
                for at in range(240):
                    await out.send_voice(voice * (1 + at / 240), exact=False)
                    await out.send_codes(np.full((6, 1), at))
                await out.finish()
                return await everything(listener)

    packets = run(scenario())
    frames, places = 0, []
    for packet in packets:
        if isinstance(packet, VoicePacket):
            places.append(frames)
            cosine = packet.timbre @ voice / np.linalg.norm(packet.timbre) / np.linalg.norm(voice)
            assert not packet.exact and cosine > 0.985
        elif isinstance(packet, CodesPacket):
            frames += packet.codes.shape[1]
    assert frames == 240 and places == [0, 41, 81]


def test_frames_left_out_are_told_or_filled(live: Codec, hello: np.ndarray) -> None:
    codes = np.asarray(live.encode(hello[: 200 * 48]).codes)
    told, plain = {"output": "codes", "pauses": True}, {"output": "codes"}

    async def scenario() -> Any:
        async with server(live) as running:
            listeners = [
                connect(running.url, role="subscribe", room="tea", **each)  # type: ignore[arg-type]
                for each in (told, plain, {"output": "pcm"})
            ]
            async with connect(
                running.url, role="publish", input="codes", room="tea", pauses=True
            ) as out:
                sessions = [await each.__aenter__() for each in listeners]
                waiting = [asyncio.create_task(everything(session)) for session in sessions]
                await out.send_codes(codes[:, :16])
                for _ in range(20):
                    await out.send_pause(8, b"")
                await out.send_codes(codes[:, 16:])
                await out.send_pause(5, bytes(5))
                totals = await out.finish()
            packets = await asyncio.gather(*waiting)
            for each in listeners:
                await each.__aexit__(None, None, None)
            return totals, packets

    totals, (first, second, third) = run(scenario())
    assert totals.frames_in == 48 + 165
    pauses = [packet for packet in first if isinstance(packet, PausePacket)]
    assert sum(packet.frames for packet in pauses) == 165 and pauses[-1].noise == bytes(5)
    assert np.array_equal(codes_of(first), codes)
    filled = codes_of(second)
    assert filled.shape[1] == 48 + 165
    assert np.array_equal(filled[:, :16], codes[:, :16])
    assert np.array_equal(filled[:, 16:176], pause_frames(codes[:, 4:16], 16, 160))
    assert np.array_equal(filled[:, 176:208], codes[:, 16:])
    assert sum(len(p.samples) for p in third if isinstance(p, AudioPacket)) == (48 + 165) * 200


def test_a_server_of_version_1_is_spoken_to_in_version_1(
    untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older server knows one subprotocol, and none of the wishes."""
    codes = np.arange(6 * 8).reshape(6, 8)
    monkeypatch.setattr(
        "streaming.server.listening.VERSIONS", {protocol.SUBPROTOCOL: protocol.VERSION}
    )

    async def scenario() -> tuple[Session, list[Packet]]:
        async with server(untrained) as running:
            wishes: dict[str, Any] = {
                "voices": "compact", "pauses": True, "coder": untrained.coder, "stamps": 4,
            }  # fmt: skip
            async with connect(
                running.url, role="loopback", input="codes", output="codes", **wishes
            ) as session:
                await session.send_codes(codes)
                await session.finish()
                return session, await everything(session)

    session, packets = run(scenario())
    assert session.ready.version == 1 and not session.pauses
    assert np.array_equal(codes_of(packets), codes)
    with pytest.raises(ValueError, match="one that does not"):
        run(session.send_pause(1))


def test_where_there_are_pauses_voices_that_are_alike_wait_for_one(
    live: Codec, hello: np.ndarray
) -> None:
    """Three go out: the next would wait for 2.5 s of what is sent, then for a pause."""
    voice = np.asarray(live.encode(hello).timbre)
    other = np.roll(voice, 1)
    options: dict[str, Any] = {"room": "tea", "voices": "compact", "pauses": True}

    async def scenario() -> list[Packet]:
        async with (
            server(live) as running,
            connect(running.url, role="publish", input="codes", **options) as out,
            connect(running.url, role="subscribe", output="codes", **options) as listener,
        ):
            for at in range(1000):
                said = (voice if at < 90 else other) * (1 + at / 1000)
                await out.send_voice(said, exact=False)
                if 300 <= at < 320:
                    await out.send_pause(1)
                else:
                    await out.send_codes(np.full((6, 1), at))
            await out.finish()
            return await everything(listener)

    frames, places = 0, []
    for packet in run(scenario()):
        if isinstance(packet, VoicePacket):
            places.append(frames)
        elif isinstance(packet, (CodesPacket, PausePacket)):
            frames += packet.codes.shape[1] if isinstance(packet, CodesPacket) else packet.frames
    first, another, in_pause = places
    assert (first, another) == (0, 91) and 300 <= in_pause <= 321
