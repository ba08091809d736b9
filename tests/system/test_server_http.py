"""Answers of the server before, or instead of, the upgrade."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from clients.cli import PAGE
from facodec.codec import Codec
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import End, Hello, Ready


async def fetch(url: str, path: str, **headers: str) -> bytes:
    """The bytes at a path, which have to be there."""

    def read() -> bytes:
        with urlopen(Request(url.replace("ws://", "http://") + path, headers=headers)) as answer:
            return bytes(answer.read())

    return await asyncio.to_thread(read)


async def get(url: str, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    """A plain HTTP request from a thread: status, headers, body."""

    def fetch() -> tuple[int, dict[str, str], str]:
        request = Request(url.replace("ws://", "http://") + path, headers=headers)
        try:
            with urlopen(request, timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read().decode()
        except HTTPError as error:
            return error.code, dict(error.headers), error.read().decode()

    return await asyncio.to_thread(fetch)


async def refusal(raw: Any, url: str, **options: Any) -> tuple[int, Any]:
    with pytest.raises(InvalidStatus) as caught:
        async with raw.connect(url, **options):
            pass
    return caught.value.response.status_code, caught.value.response.headers


def test_health_and_metrics(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with Server(ServerSettings(port=0, max_sessions=3), {"live": untrained}) as server:
            async with raw.connect(server.url) as socket:
                client = raw.client(socket)
                await client.send(Hello("loopback"), *raw.audio(np.zeros(4000, np.float32)))
                await client.until(Ready)
                status, headers, body = await get(server.url, "/healthz")
                health = json.loads(body)
                assert (status, health["status"]) == (200, "ok")
                assert headers["Content-Type"].startswith("application/json")
                assert (health["sessions"], health["capacity"]) == (1, 3)
                assert health["models"] == ["live"] and health["backlog_frames"] >= 0
                await client.send(End())
                await client.rest()
            _, _, text = await get(server.url, "/metrics")
            assert 'facodec_sessions_total{role="loopback"} 1' in text
            assert "facodec_frames_in_total 20" in text
            assert 'facodec_compute_seconds{quantile="0.95"}' in text

    raw.run(scenario())


def test_full_is_503_with_retry_after(raw: Any, untrained: Codec) -> None:
    settings = ServerSettings(port=0, max_sessions=1, max_rooms=1, max_listeners=1)

    async def scenario() -> None:
        async with Server(settings, {"live": untrained}) as server:
            async with (
                raw.connect(server.url) as socket,
                raw.connect(server.url) as ear,
                raw.connect(server.url) as mouth,
            ):
                await raw.client(socket).send(Hello("encode"))
                await raw.client(socket).until(Ready)
                second = await raw.session(server.url, Hello("encode"))
                assert (second.error.code, second.close_code) == ("overloaded", 1013)
                await raw.client(ear).send(Hello("subscribe", room="a"))
                await raw.client(ear).settle()
                await raw.client(mouth).send(Hello("publish", "codes", room="b"))
                await raw.client(mouth).until(Ready)
                status, headers = await refusal(raw, server.url)
                assert status == 503 and int(headers["Retry-After"]) > 0
                assert (await get(server.url, "/healthz"))[0] == 200
                await raw.client(socket).send(End())
                await raw.client(socket).rest()
            heard = await raw.session(server.url, Hello("encode"))
            assert heard.close_code == 1000
            assert server.health()["metrics"]["refused_total"] == {"503": 1}

    raw.run(scenario())


def test_tokens_before_the_upgrade(raw: Any, untrained: Codec) -> None:
    settings = ServerSettings(port=0, max_sessions=64, tokens=("secret",))

    async def admitted(url: str, **options: Any) -> bool:
        async with raw.connect(url, **options) as socket:
            client = raw.client(socket)
            await client.send(Hello("encode"))
            return isinstance(await client.next(), Ready)

    async def scenario() -> None:
        async with Server(settings, {"live": untrained}) as server:
            bearer = {"additional_headers": {"Authorization": "Bearer secret"}}
            assert await admitted(server.url, **bearer)
            assert await admitted(server.url + "/?token=secret")
            wrong = {"additional_headers": {"Authorization": "Bearer guess"}}
            assert (await refusal(raw, server.url, **wrong))[0] == 401
            assert (await refusal(raw, server.url + "/?token=guess"))[0] == 401
            assert not await admitted(server.url)

    raw.run(scenario())


def test_who_does_not_speak_the_protocol_gets_426(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with Server(ServerSettings(port=0, max_sessions=64), {"live": untrained}) as server:
            status, headers, body = await get(server.url, "/")
            assert status == 426 and "facodec.v2 or facodec.v1" in body
            assert headers["Sec-WebSocket-Protocol"] == "facodec.v2, facodec.v1"
            assert (await refusal(raw, server.url, subprotocols=None))[0] == 426
            assert (await refusal(raw, server.url, subprotocols=["chat"]))[0] == 426
            heard_both = raw.connect(server.url, subprotocols=["chat", "facodec.v1"])
            async with heard_both as socket:
                assert socket.subprotocol == "facodec.v1"
            newer = raw.connect(server.url, subprotocols=["facodec.v1", "facodec.v2"])
            async with newer as socket:
                assert socket.subprotocol == "facodec.v2"

    raw.run(scenario())


def test_the_page_is_there_before_any_token(raw: Any, untrained: Codec) -> None:
    settings = ServerSettings(port=0, max_sessions=4, tokens=("secret",), page=str(PAGE))
    follows = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

    async def scenario() -> None:
        async with Server(settings, {"live": untrained}) as server:
            assert server.page_url == server.url.replace("ws", "http") + "/"
            status, headers, body = await get(server.url, "/")
            assert status == 200 and "<title>" in body and "default-src" in str(headers)
            stranger = {"Sec-Fetch-Site": "cross-site", **follows}
            assert (await get(server.url, "/", **stranger))[0] == 200
            assert (await get(server.url, "/healthz?token=guess", **stranger))[0] == 403
            assert (await get(server.url, "/", Host="evil.example", **stranger))[0] == 403
            assert (await get(server.url, "/", **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
            assert (await get(server.url, "/nothing.js"))[0] == 404
            heard = await raw.session(server.url, Hello("encode"))
            assert heard.error.code == "unauthorized"
            assert (await raw.session(server.url, Hello("encode", token="secret"))).ready

    raw.run(scenario())


def test_voices_are_kept_and_handed_out(
    raw: Any, live: Codec, hello: np.ndarray, tmp_path: Path
) -> None:
    settings = ServerSettings(
        port=0, voices=str(tmp_path), keep_voices=1, tokens=("secret",), max_sessions=8
    )
    keeps = Hello("enroll", keep="Jo\u0308rg", token="secret")
    sound = raw.audio(hello[: 3 * 16_000], 16_000)

    async def scenario() -> None:
        async with Server(settings, {"live": live}) as server:
            place = "/voices/J%C3%B6rg"
            shows = {"Authorization": "Bearer secret"}
            assert (await get(server.url, place))[0] == 401
            assert (await get(server.url, place, **shows))[0] == 404
            (voice,) = (await raw.session(server.url, keeps, sound)).voices
            assert server.health()["keeps_voices"] and "J\u00f6rg" in server.health()["voices"]
            kept = (tmp_path / "J\u00f6rg.voice").read_bytes()
            assert kept == voice.data + str(live.identity).encode()
            assert await fetch(server.url, place, **shows) == kept
            bundled = await fetch(server.url, "/voices/hazel", **shows)
            assert bundled[:1024] == live.voices["hazel"].tobytes()
            nobody = [await fetch(server.url, "/voices/anonymous", **shows) for _ in range(2)]
            assert nobody[0] != nobody[1] and len(nobody[0]) == len(kept)
            named = Hello("convert", "pcm", "pcm", voice="J\u00f6rg", token="secret")
            assert (await raw.session(server.url, named, sound[:1])).close_code == 1000
            for refused, code in (
                (keeps, "voice-taken"),
                (replace(keeps, keep="eve"), "overloaded"),
                (replace(keeps, role="encode"), "bad-field"),
            ):
                assert (await raw.session(server.url, refused)).error.code == code
            foreign = {"Origin": "https://evil.example", **shows}
            assert (await refusal(raw, server.url, additional_headers=foreign))[0] == 403
            assert (await get(server.url, place, **foreign))[0] == 403

    raw.run(scenario())
