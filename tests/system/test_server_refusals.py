"""Bad input ends its own session with a code and a sentence, and disturbs nobody."""

from __future__ import annotations

import asyncio
import socket as sockets
from typing import Any

import msgpack
import numpy as np
import pytest

from facodec.codec import Codec
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire import protocol
from streaming.wire.protocol import Audio, Codes, End, Error, Hello, Ready, Voice
from tests.exactness import assert_equal_codes, assert_equal_speech

SILENCE = bytes(800)
NAN = np.full(200, np.nan, "<f4").tobytes()
LIMIT = 128 * 1024

BAD: list[tuple[str, list[Any], str, int]] = [
    ("text", ["hello"], "text-frame", 1003),
    ("garbage", [b"\xc1\x00\xff"], "bad-message", 1007),
    ("not a map", [msgpack.packb([1])], "bad-message", 1007),
    ("nothing", [b""], "bad-message", 1007),
    ("unknown type", [msgpack.packb({"type": "sing"})], "unknown-type", 1002),
    ("no hello", [Audio(0, SILENCE)], "unexpected-message", 1002),
    ("wrong version", [Hello("encode", version=9)], "bad-version", 1002),
    ("wrong formats", [Hello("encode", "codes", "pcm")], "bad-role", 1008),
    ("no room", [Hello("publish")], "bad-field", 1007),
    ("no voice", [Hello("convert")], "no-voice", 1008),
    ("unknown model", [Hello("encode", model="best")], "unknown-model", 1008),
    ("unknown voice", [Hello("decode", voice="nobody")], "unknown-voice", 1008),
    ("giant", [Hello("encode"), bytes(LIMIT + 1)], "too-big", 1009),
    ("NaN", [Hello("encode"), Audio(0, NAN)], "bad-audio", 1007),
    ("half a sample", [Hello("encode"), Audio(0, bytes(3))], "bad-size", 1007),
    ("skipped", [Hello("encode"), Audio(0, SILENCE), Audio(2, SILENCE)], "bad-seq", 1002),
    ("codes cut short", [Hello("decode"), Codes(0, 2, bytes(8))], "bad-size", 1007),
    ("codes for pcm", [Hello("encode"), Codes(0, 1, bytes(8))], "unexpected-message", 1002),
    ("half a voice", [Hello("decode"), Voice(bytes(100))], "bad-voice", 1007),
    ("after end", [Hello("encode"), End(), Audio(0, SILENCE)], "unexpected-message", 1002),
    ("enrol nothing", [Hello("enroll"), End()], "bad-audio", 1007),
    ("nobody publishes", [Hello("subscribe", room="empty")], "unknown-room", 1008),
    ("no hello ever", [], "hello-timeout", 1008),
    ("silence", [Hello("encode")], "idle-timeout", 1008),
]


async def offend(raw: Any, url: str, messages: list[Any]) -> Any:
    async with raw.connect(url) as socket:
        client = raw.client(socket)
        await client.send(*messages)
        return await client.rest()


def test_each_offence_is_named_and_the_neighbours_stay_exact(
    raw: Any, live: Codec, hello: np.ndarray
) -> None:
    voice = live.voice(hello)
    settings = ServerSettings(
        port=0, max_sessions=64, hello_timeout=3.0, idle_timeout=3.0, room_wait=0.5
    )

    async def scenario() -> tuple[Any, list[Any], dict[str, Any]]:
        async with Server(settings, {"live": live}) as server:
            request = Hello("loopback", voice=Voice.exact(voice).data)
            neighbour = asyncio.ensure_future(raw.session(server.url, request, raw.audio(hello)))
            offenders = [offend(raw, server.url, messages) for _, messages, _, _ in BAD]
            heard = await asyncio.gather(*offenders)
            return await neighbour, heard, server.health()

    neighbour, heard, health = raw.run(scenario())
    assert_equal_speech(neighbour.samples, lambda: live.decode(live.encode(hello).codes, voice))
    got = [(name, h.error.code, h.close_code) for (name, *_), h in zip(BAD, heard, strict=True)]
    assert got == [(name, code, close) for name, _, code, close in BAD]
    assert all(len(h.error.message) > 15 for h in heard)
    assert sum(health["metrics"]["errors_total"].values()) == len(BAD)


def test_a_flood_of_a_message_is_cut_off_while_it_arrives(raw: Any, untrained: Codec) -> None:
    async def scenario() -> Any:
        async with Server(ServerSettings(port=0, max_sessions=64), {"live": untrained}) as server:
            return await raw.session(server.url, Hello("encode"), [bytes(LIMIT * 8 + 1)])

    heard = raw.run(scenario())
    assert heard.close_code == 1009 and not heard.all(Error)


def test_who_takes_nothing_is_not_waited_for_forever(raw: Any, untrained: Codec) -> None:
    settings = ServerSettings(port=0, max_sessions=64, outbox=0.5, idle_timeout=1.0)

    async def scenario() -> None:
        async with Server(settings, {"live": untrained}) as server:
            host, port = server.url.removeprefix("ws://").split(":")
            narrow = sockets.socket()
            narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
            narrow.connect((host, int(port)))
            async with raw.connect(
                server.url, sock=narrow, max_queue=1, close_timeout=0.1
            ) as socket:
                client = raw.client(socket)
                echo = [Codes(80 * i, 80, bytes(600)) for i in range(2000)]
                sending = asyncio.ensure_future(client.send(Hello("loopback", "codes"), *echo))
                while server.health()["metrics"]["errors_total"] != {"too-slow": 1}:
                    await asyncio.sleep(0.01)
                while server.sessions:
                    await asyncio.sleep(0.01)
                sending.cancel()
                await asyncio.wait({sending})

    raw.run(scenario())


def test_wrong_codes_cannot_reach_the_model(raw: Any, untrained: Codec) -> None:
    """10 bits hold 0 to 1023 and nothing else: whatever is in the bytes decodes."""

    async def scenario() -> Any:
        async with Server(ServerSettings(port=0, max_sessions=64), {"live": untrained}) as server:
            noise = [Codes(0, 8, b"\xff" * 60), Codes(8, 8, np.random.default_rng(1).bytes(60))]
            return await raw.session(server.url, Hello("decode"), noise)

    heard = raw.run(scenario())
    assert heard.close_code == 1000 and np.isfinite(heard.samples).all()
    assert len(heard.samples) == 16 * 200


@pytest.mark.parametrize(
    ("token", "admitted"), [("right", True), ("also-right", True), ("wrong", False), (None, False)]
)
def test_token_in_hello(raw: Any, untrained: Codec, token: str | None, admitted: bool) -> None:
    settings = ServerSettings(port=0, max_sessions=64, tokens=("right", "also-right"))

    async def scenario() -> Any:
        async with Server(settings, {"live": untrained}) as server:
            return await raw.session(server.url, Hello("encode", token=token))

    heard = raw.run(scenario())
    assert bool(heard.all(Ready)) == admitted
    assert admitted or (heard.error.code, heard.close_code) == ("unauthorized", 1008)


def test_a_fast_sender_is_slowed_down_to_the_bound(
    raw: Any, live: Codec, hello: np.ndarray
) -> None:
    settings = ServerSettings(port=0, max_sessions=64, backlog=0.25)
    allowed = 0.25 * 80 + protocol.MAX_FRAMES_PER_MESSAGE
    seen: list[float] = []

    async def watch(server: Server) -> None:
        while True:
            seen.append(server.runtime.engine.backlog)
            await asyncio.sleep(0.002)

    async def scenario() -> tuple[Any, dict[str, Any]]:
        async with Server(settings, {"live": live}) as server:
            watching = asyncio.ensure_future(watch(server))
            heard = await raw.session(server.url, Hello("encode"), raw.audio(hello, 16_000))
            watching.cancel()
            return heard, server.health()

    heard, health = raw.run(scenario())
    assert_equal_codes(heard.codes, live.model, hello)
    assert health["metrics"]["paused_total"] > 0
    assert 0 < max(seen) <= allowed
