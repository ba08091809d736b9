"""Rooms over real sockets: who hears what, from when, and who has to go."""

from __future__ import annotations

import asyncio
import socket as sockets
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from facodec.codec import Codec
from streaming.engine.capacity import HOP_SECONDS, SHARE, Measured
from streaming.server import connections
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import Audio, Codes, Hello, Ready, Voice
from tests.exactness import assert_equal_audio, assert_equal_codes


async def settled(server: Server, client: Any) -> None:
    """Waits until the server has read and computed all that the client has sent."""
    await client.settle()
    while server.runtime.engine.backlog:
        await asyncio.sleep(0.001)


def test_early_and_late_listeners_of_codes_and_sound(
    raw: Any, live: Codec, hello: np.ndarray
) -> None:
    clip, half = hello[:48_000], 24_000

    async def scenario() -> list[Any]:
        async with Server(ServerSettings(port=0, max_sessions=64), {"live": live}) as server:

            async def listen(output: Any, ready: asyncio.Event | None = None) -> Any:
                async with raw.connect(server.url) as socket:
                    client = raw.client(socket)
                    await client.send(Hello("subscribe", output=output, room="tea"))
                    if ready is not None:
                        await client.until(Ready)
                        ready.set()
                    return await client.rest()

            early = [asyncio.ensure_future(listen(output)) for output in ("codes", "pcm", "pcm")]
            while server.runtime.metrics.sessions["subscribe"] < len(early):
                await asyncio.sleep(0.001)
            async with raw.connect(server.url) as socket:
                publisher = raw.client(socket)
                packets = raw.audio(clip)
                await publisher.send(Hello("publish", room="tea"), *packets[: half // 200])
                await settled(server, publisher)
                joined = [asyncio.Event(), asyncio.Event()]
                late = [
                    asyncio.ensure_future(listen(output, event))
                    for output, event in zip(("codes", "pcm"), joined, strict=True)
                ]
                for event in joined:
                    await event.wait()
                await publisher.send(*packets[half // 200 :])
                await settled(server, publisher)
                socket.transport.abort()
            return list(await asyncio.gather(*early, *late))

    codes, sound, same_sound, late_codes, late_sound = raw.run(scenario())
    frames = codes.codes.shape[1]
    assert_equal_codes(codes.codes, live.model, clip)
    assert [type(m) for m in codes.messages[:3]] == [Ready, Voice, Codes]
    assert np.array_equal(sound.samples, same_sound.samples)
    assert len(sound.samples) == frames * 200

    assert [type(m) for m in late_codes.messages[:2]] == [Ready, Voice]
    first = late_codes.all(Codes)[0].seq
    assert first == half // 200
    assert np.array_equal(late_codes.codes, codes.codes[:, first:])
    assert late_codes.voices[0] == next(m for m in codes.voices if m in late_codes.voices)

    start = late_sound.all(Audio)[0].seq
    assert 0 < start <= half // 200
    assert np.array_equal(late_sound.samples, sound.samples[start * 200 :])
    for heard in (codes, sound, late_codes, late_sound):
        assert (heard.done.reason, heard.close_code) == ("publisher-left", 1000)


def test_sound_that_starts_late_is_decoded_from_there(
    raw: Any, live: Codec, hello: np.ndarray
) -> None:
    voice = live.voice(hello)
    codes = live.encode(hello).codes[:, :80]

    async def scenario() -> Any:
        async with (
            Server(ServerSettings(port=0, max_sessions=64), {"live": live}) as server,
            raw.connect(server.url) as up,
            raw.connect(server.url) as down,
        ):
            publisher, listener = raw.client(up), raw.client(down)
            packets = raw.codes(codes, 10)
            request = Hello("publish", "codes", room="a", voice=Voice.exact(voice).data)
            await publisher.send(request, *packets[:4])
            await settled(server, publisher)
            await listener.send(Hello("subscribe", room="a"))
            await listener.until(Ready)
            await publisher.send(*packets[4:])
            await publisher.socket.close()
            return await listener.rest()

    heard = raw.run(scenario())
    first = heard.all(Audio)[0].seq
    assert first == 40 and len(heard.samples) == 40 * 200
    expected = live.decode(codes[:, first:], voice)
    assert_equal_audio(heard.samples, expected)


def test_a_room_has_one_publisher(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with Server(ServerSettings(port=0, max_sessions=64), {"live": untrained}) as server:
            request = Hello("publish", room="a")
            async with raw.connect(server.url) as first:
                client = raw.client(first)
                await client.send(request)
                await client.until(Ready)
                second = await raw.session(server.url, request)
                assert (second.error.code, second.close_code) == ("room-taken", 1008)
                await first.close()
            while server.sessions:
                await asyncio.sleep(0.005)
            assert (await raw.session(server.url, request)).close_code == 1000

    raw.run(scenario())


def test_a_listener_may_leave(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with Server(ServerSettings(port=0, max_sessions=64), {"live": untrained}) as server:
            async with raw.connect(server.url) as up:
                await raw.client(up).send(Hello("publish", room="a"))
                heard = await raw.session(server.url, Hello("subscribe", room="a"))
                assert (heard.done.reason, heard.close_code) == ("end", 1000)
            while len(server.runtime.rooms):
                await asyncio.sleep(0.005)

    raw.run(scenario())


def test_a_listener_that_does_not_listen_is_dropped(raw: Any, untrained: Codec) -> None:
    """On a clock that runs fast: no publisher is ahead of its time, so nobody is waited for."""
    settings = ServerSettings(
        port=0, max_sessions=64, outbox=1.0, idle_timeout=1e9, hello_timeout=1e9
    )

    async def scenario() -> None:
        server = Server(settings, {"live": untrained}, clock=lambda: time.perf_counter() * 1e4)
        async with server:
            address = server.url.removeprefix("ws://").split(":")
            narrow = sockets.socket()
            narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
            narrow.connect((address[0], int(address[1])))
            async with (
                raw.connect(server.url) as up,
                raw.connect(server.url, sock=narrow, max_queue=1, close_timeout=0.1) as deaf,
                raw.connect(server.url) as good,
            ):
                for listener in (deaf, good):
                    request = Hello("subscribe", output="codes", room="a")
                    await raw.client(listener).send(request)
                publisher, attentive = raw.client(up), raw.client(good)
                await publisher.send(Hello("publish", "codes", room="a"))
                await attentive.until(Ready)
                sent = 0
                while not server.runtime.metrics.errors["too-slow"]:
                    await publisher.send(*[Voice(bytes(1024))] * 20, Codes(sent, 5, bytes(38)))
                    sent += 5
                    while (await attentive.until(Codes)).seq < sent - 1:
                        pass
                await up.close()
                heard = await attentive.rest()
                assert heard.codes.shape[1] == sent and heard.close_code == 1000
                assert server.runtime.metrics.errors == {"too-slow": 1}

    raw.run(scenario())


def test_publishers_of_codes_by_the_hundred_beside_the_sessions_that_compute(
    raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STRANGERS_BURST", 1e9)

    async def scenario() -> None:
        async with (
            Server(ServerSettings(port=0), {"live": untrained}) as server,
            AsyncExitStack() as stack,
        ):
            server.runtime.measured["live"] = Measured({1: 0.9 * SHARE * HOP_SECONDS}, 0)
            assert server.capacity == 1

            async def opened(hello: Hello) -> Any:
                client = raw.client(await stack.enter_async_context(raw.connect(server.url)))
                await client.send(hello)
                return await client.next()

            for number in range(101):
                publish = Hello("publish", "codes", room=f"room-{number}")
                assert isinstance(await opened(publish), Ready), number
            ear = Hello("subscribe", output="pcm", room="room-7")
            assert isinstance(await opened(ear), Ready)
            health = server.health()
            assert (health["publishers"], health["sessions"], health["load"]) == (101, 1, 0.5)
            for hello in (Hello("loopback"), replace(ear, room="room-8")):
                assert (await opened(hello)).message == "all 1 sessions are taken"

    raw.run(scenario())
