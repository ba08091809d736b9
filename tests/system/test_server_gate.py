"""Admission over real sockets: pages, addresses, tokens; and any bytes at all get an answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from facodec.codec import Codec
from streaming.server import connections
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import Error, Hello, Ready

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: facodec.v1\r\n"
)
PLAIN = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
RUNS = 3000


def settings(**options: Any) -> ServerSettings:
    return ServerSettings(**{"port": 0, "max_sessions": 64, **options})


async def answer(url: str, request: bytes) -> bytes:
    """All that the server says to these bytes until it hangs up; what follows a 101 is not read."""
    host, port = url.partition("://")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        if b"\r\n\r\n" not in request:
            writer.write_eof()
        first = await reader.readline()
        if first.startswith(b"HTTP/1.1 101"):
            return first
        return first + await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


def status(said: bytes) -> int:
    return int(said.split()[1]) if said.startswith(b"HTTP/1.1 ") else 0


async def outcome(raw: Any, url: str, **headers: str) -> int | str:
    """HTTP status of a refusal, or what comes for a hello: "ready" or the code of an error."""
    token = headers.pop("hello_token", None)
    address = {}
    if "Host" in headers:
        host, port = url.removeprefix("ws://").split(":")
        url, address = f"ws://{headers.pop('Host')}", {"host": host, "port": int(port)}
    try:
        async with raw.connect(url, additional_headers=headers, **address) as socket:
            client = raw.client(socket)
            await client.send(Hello("encode", token=token))
            message = await client.next()
            return message.code if isinstance(message, Error) else "ready"
    except InvalidStatus as refused:
        return refused.response.status_code


def test_only_pages_of_its_own_use_a_server(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        allowed = {"allow_origins": ("https://app.example",), "allow_hosts": ("codec.example",)}
        async with Server(settings(**allowed), {"live": untrained}) as server:
            own = server.url.replace("ws://", "http://")
            asked: list[tuple[dict[str, str], int | str]] = [
                ({}, "ready"),
                ({"Origin": own}, "ready"),
                ({"Origin": "https://app.example"}, "ready"),
                ({"Host": "codec.example"}, "ready"),
                ({"Origin": "http://evil.example"}, 403),
                ({"Origin": "null"}, 403),
                ({"Origin": "http://127.0.0.1:1"}, 403),
                ({"Host": "evil.example"}, 403),
                ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
            ]
            for headers, wanted in asked:
                assert (headers, await outcome(raw, server.url, **headers)) == (headers, wanted)
            for path in (b"/healthz", b"/metrics"):
                said = await answer(
                    server.url, b"GET " + path + b" HTTP/1.1\r\nHost: evil.example\r\n\r\n"
                )
                assert status(said) == 403 and b"--allow-host" in said
            assert server.health()["metrics"]["refused_total"] == {"403": 7}

    raw.run(scenario())


def test_one_address_cannot_take_all(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        limits = settings(max_sessions=28, address_connections=30, address_sessions=14)
        async with Server(limits, {"live": untrained}) as server:
            sockets = []
            codes: Counter[str] = Counter()
            for _ in range(20):
                socket = await raw.connect(server.url)
                sockets.append(socket)
                client = raw.client(socket)
                await client.send(Hello("encode"))
                message = await client.next()
                codes["ready" if isinstance(message, Ready) else message.code] += 1
            assert codes == {"ready": 14, "too-many-sessions": 6}
            for socket in sockets:
                await socket.close()
            assert await outcome(raw, server.url) == "ready"

    raw.run(scenario())


def test_connections_too_many_are_told_and_cut(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with Server(settings(address_connections=2), {"live": untrained}) as server:
            host, port = server.url.removeprefix("ws://").split(":")
            held = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
            silent = held.pop()
            assert await silent[0].read() == b""  # it did not ask in time
            said = await answer(server.url, PLAIN + b"\r\n")
            assert status(said) == 429 and b"Retry-After" in said
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            while status(await answer(server.url, PLAIN + b"\r\n")) != 200:
                pass

    raw.run(scenario())


def test_a_rush_of_connections_is_read_in_turn(
    raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STRANGERS_RATE", 10.0)
    monkeypatch.setattr(connections, "STRANGERS_BURST", 1.0)

    async def scenario() -> None:
        async with Server(settings(), {"live": untrained}) as server:
            began = time.monotonic()
            for _ in range(4):
                assert status(await answer(server.url, PLAIN + b"\r\n")) == 200
            assert time.monotonic() - began >= 0.25

    raw.run(scenario())


def test_who_shows_a_token_that_fits_does_not_wait_among_strangers(
    raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STRANGERS_RATE", 0.01)
    monkeypatch.setattr(connections, "STRANGERS_BURST", 1.0)

    async def scenario() -> None:
        async with Server(settings(tokens=("right",)), {"live": untrained}) as server:
            assert status(await answer(server.url, PLAIN + b"\r\n")) == 200
            stranger = asyncio.ensure_future(answer(server.url, PLAIN + b"\r\n"))
            known = PLAIN + b"Authorization: Bearer right\r\n\r\n"
            for _ in range(3):
                assert status(await answer(server.url, known)) == 200
                assert not stranger.done()
            stranger.cancel()

    raw.run(scenario())


def test_nothing_is_made_for_a_request_before_it_is_there(
    raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    class Counted(connections.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            nonlocal made
            made += 1
            super().__init__(*args, **options)

    monkeypatch.setattr(connections, "Connection", Counted)

    async def scenario() -> None:
        async with Server(settings(), {"live": untrained}) as server:
            host, port = server.url.removeprefix("ws://").split(":")
            held = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
            for _, writer in held:
                writer.write(PLAIN)
                await writer.drain()
            assert status(await answer(server.url, PLAIN + b"\r\n")) == 200
            assert made == 1
            reader, writer = held[0]
            writer.write(b"\r\n")
            assert status(await reader.read()) == 200
            assert made == 2
            for _, writer in held:
                writer.close()

    raw.run(scenario())


@pytest.mark.parametrize("size", [20_000, 150_000])
def test_a_request_too_long_is_told_so_though_more_of_it_comes(
    raw: Any, untrained: Codec, size: int
) -> None:
    async def scenario() -> None:
        async with Server(settings(), {"live": untrained}) as server:
            said = await answer(server.url, PLAIN + b"X: " + bytes(size) + b"\r\n\r\n")
            assert status(said) == 431 and b"16384 bytes" in said
            assert server.health()["metrics"]["refused_total"] == {"431": 1}

    raw.run(scenario())


def test_guesses_are_read_late(raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusing them as fast as they come costs nobody anything."""
    monkeypatch.setattr(connections, "SUSPENSE", 0.3)

    async def scenario() -> None:
        limits = settings(tokens=("right",), token_tries=1)
        async with Server(limits, {"live": untrained}) as server:
            assert await outcome(raw, server.url, Authorization="Bearer guess") == 401
            asked = time.monotonic()
            assert await outcome(raw, server.url, Authorization="Bearer guess") == 429
            assert time.monotonic() - asked >= 0.3

    raw.run(scenario())


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_nothing_is_kept_of_who_has_to_wait(
    name: str, raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SUSPENSE", 60.0)

    async def scenario() -> int:
        limits = settings(tokens=("right",), token_tries=1)
        async with Server(limits, {"live": untrained}) as server:
            assert await outcome(raw, server.url, Authorization="Bearer guess") == 401
            client = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
            client.setblocking(False)
            taken = 0
            with client:
                for _ in range(400):
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            taken += client.send(bytes(1 << 18))
                    await asyncio.sleep(0)
            return taken

    taken = pytest.importorskip(name).run(asyncio.wait_for(scenario(), 60.0))
    assert taken < 16 << 20  # what the system takes, and one read


def test_guesses_have_to_wait(raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SUSPENSE", 0.0)

    async def scenario() -> None:
        limits = settings(tokens=("right",), token_tries=3)
        async with Server(limits, {"live": untrained}) as server:
            guess = {"Authorization": "Bearer guess"}
            said = [await outcome(raw, server.url, **guess) for _ in range(2)]
            said.append(await outcome(raw, server.url, hello_token="guess"))
            assert said == [401, 401, "unauthorized"]
            right = {"Authorization": "Bearer right"}
            assert await outcome(raw, server.url, **right) == 429
            assert await outcome(raw, server.url, hello_token="right") == "too-many-attempts"
            healthz = PLAIN + b"Authorization: Bearer right\r\n\r\n"
            assert status(await answer(server.url, healthz)) == 429
            # Nobody else waits: neither who shows no token, nor another address.
            assert status(await answer(server.url, PLAIN + b"\r\n")) == 200

    raw.run(scenario())


def test_rights_of_a_token(raw: Any, untrained: Codec, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("listener subscribe rooms=hall\nspeaker publish\n")

    async def scenario() -> None:
        limits = settings(token_file=str(tmp_path / "tokens"))
        async with Server(limits, {"live": untrained}) as server:
            for hello, code, says in [
                (Hello("encode", token="listener"), "forbidden", "the right to convert"),
                (Hello("publish", room="hall", token="listener"), "forbidden", "to publish"),
                (Hello("subscribe", room="den", token="listener"), "forbidden", "in room 'den'"),
                (Hello("subscribe", room="hall", token="speaker"), "forbidden", "to subscribe"),
            ]:
                heard = await raw.session(server.url, hello)
                assert (heard.error.code, says in heard.error.message) == (code, True)
                assert "listener" not in heard.error.message
            for role, token in (("publish", "speaker"), ("subscribe", "listener")):
                heard = await raw.session(server.url, Hello(role, room="hall", token=token))
                assert heard.close_code == 1000

    raw.run(scenario())


def test_health_without_the_token_says_no_more_than_that(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with Server(settings(tokens=("a+b/c",)), {"live": untrained}) as server:
            body = (await answer(server.url, PLAIN + b"\r\n")).partition(b"\r\n\r\n")[2]
            assert json.loads(body) == {"status": "ok"}
            metrics = PLAIN.replace(b"healthz", b"metrics")
            assert status(await answer(server.url, metrics + b"\r\n")) == 401
            bearer = b"Authorization: Bearer a+b/c\r\n\r\n"
            for request in (PLAIN + bearer, PLAIN.replace(b"healthz", b"healthz?token=a+b/c")):
                body = (await answer(server.url, request + b"\r\n")).partition(b"\r\n\r\n")[2]
                assert json.loads(body)["capacity"] == 64
            assert b"facodec_sessions" in await answer(server.url, metrics + bearer)
            wrong = PLAIN + b"Authorization: Bearer guess\r\n\r\n"
            assert status(await answer(server.url, wrong)) == 401

    raw.run(scenario())


def test_sessions_are_told_to_who_runs_the_server(
    raw: Any, untrained: Codec, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text("owner\nguest publish,subscribe\nhall rooms=hall\n")
    sessions = PLAIN.replace(b"healthz", b"sessions")
    page = b"Origin: http://app.example\r\n"
    chosen = settings(token_file=str(tmp_path / "tokens"), allow_origins=("http://app.example",))

    def bearer(token: bytes) -> bytes:
        return sessions + b"Authorization: Bearer " + token + b"\r\n\r\n"

    async def scenario() -> None:
        async with Server(chosen, {"live": untrained}) as server:
            for request, wanted in (
                (sessions + b"\r\n", 401),
                (bearer(b"guess"), 401),
                (bearer(b"guest"), 403),
                (bearer(b"hall"), 403),
                (bearer(b"owner"), 200),
                (sessions + page + b"\r\n", 401),
            ):
                assert status(await answer(server.url, request)) == wanted
            allowed = await answer(server.url, bearer(b"owner").replace(b"Host:", page + b"Host:"))
            assert status(allowed) == 200 and b"Access-Control" not in allowed
        async with Server(settings(trusted_proxies=("127.0.0.1",)), {"live": untrained}) as server:
            assert status(await answer(server.url, sessions + b"\r\n")) == 200
            elsewhere = sessions + b"X-Forwarded-For: 192.0.2.7\r\n\r\n"
            assert status(await answer(server.url, elsewhere)) == 403

    raw.run(scenario())


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (UPGRADE.replace(b"GET /", b"GET http://[") + b"\r\n", 400),
        (UPGRADE + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
        (UPGRADE + b"Host: localhost\r\n\r\n", 400),
        (UPGRADE + b"Origin: http://localhost\r\nOrigin: null\r\n\r\n", 400),
        (UPGRADE + b"Origin: *\r\n\r\n", 403),
        (UPGRADE + b"Origin: http://[\r\n\r\n", 403),
        (UPGRADE.replace(b"localhost", b"[::1") + b"\r\n", 403),
        (UPGRADE.replace(b"localhost", b"\xff\xfe") + b"\r\n", 403),
        (UPGRADE.replace(b"localhost", b"") + b"\r\n", 403),
        (UPGRADE.replace(b"Host: localhost\r\n", b"") + b"\r\n", 400),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n", 426),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/3") + b"\r\n", 400),
        (UPGRADE.replace(b"GET", b"POST") + b"\r\n", 405),
        (UPGRADE.replace(b"AAAA", b"A") + b"\r\n", 400),
        (UPGRADE.replace(b"GET /", b"GET /?token=%ff%00&token=") + b"\r\n", 101),
        (UPGRADE + b"Content-Length: 5\r\n\r\nhello", 400),
        (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n", 400),
        (UPGRADE + b"no colon\r\n\r\n", 400),
        (UPGRADE + b"X-Forwarded-For: ,,,\r\n\r\n", 101),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + (b"a: " + b"b" * 5000 + b"\r\n") * 4, 431),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /healthz HT", 400),
    ],
)
def test_malformed_requests_get_an_answer_that_blames_nobody_else(
    raw: Any, untrained: Codec, request_: bytes, wanted: int
) -> None:
    async def scenario() -> bytes:
        async with Server(settings(), {"live": untrained}) as server:
            return await answer(server.url, request_)

    said = raw.run(scenario())
    assert status(said) == wanted
    if request_.startswith(b"HEAD"):
        assert said.endswith(b"\r\n\r\n")


def mutated(random_: random.Random) -> bytes:
    """A request that was in order, and what chance made of it."""
    pieces = [b"//[", b"Host: a\r\n", b"Authorization: Bearer x\r\n", b"\r\n", b"\0", b"\xff", b"%",
              b":", b"?token=%", b"Origin: \xe9\r\n", b"Origin: http://[\r\n", b"[::1", b" ", b"*",
              b"Upgrade: websocket,\r\n", b"Connection: ,;=\r\n", b"Sec-WebSocket-Key: \xe9\r\n",
              b"X-Forwarded-For: [\r\n", b"Sec-WebSocket-Protocol: \"\r\n", b"\x16\x03\x01",
              b"Sec-WebSocket-Extensions: ;=\"\r\n", b"Authorization: \xff\r\n"]  # fmt: skip
    data = bytearray(random_.choice([UPGRADE, PLAIN, UPGRADE + b"Origin: http://localhost\r\n"]))
    for _ in range(random_.randint(1, 5)):
        at = random_.randrange(len(data) + 1)
        kind = random_.randrange(5)
        if kind == 0:
            data[at:at] = random_.choice(pieces)
        elif kind == 1:  # at the start of a line, where a header belongs
            at = data.rfind(b"\r\n", 0, at) + 2 if b"\r\n" in data[:at] else 0
            data[at:at] = random_.choice(pieces)
        elif kind == 2:
            del data[at : at + random_.randint(1, 12)]
        elif kind == 3 and at < len(data):
            data[at] = random_.randrange(256)
        else:
            copied = data[at : at + random_.randint(1, 60)]
            data[at:at] = copied
    return bytes(data) + b"\r\n" * random_.choice([1, 1, 1, 1, 0])


def test_any_bytes_get_a_4xx(raw: Any, untrained: Codec) -> None:
    random_ = random.Random(11)
    requests = [mutated(random_) for _ in range(RUNS)]
    requests += [random_.randbytes(random_.randrange(1, 200)) for _ in range(RUNS // 10)]

    async def scenario() -> list[int]:
        limits = settings(tokens=("right",), token_tries=10**6)
        async with Server(limits, {"live": untrained}) as server:
            few = asyncio.Semaphore(16)

            async def ask(request: bytes) -> int:
                async with few:
                    return status(await asyncio.wait_for(answer(server.url, request), 30))

            return await asyncio.gather(*map(ask, requests))

    got = raw.run(scenario())
    odd = [(code, request) for code, request in zip(got, requests, strict=True)
           if code not in (101, 200) and not 400 <= code < 500]  # fmt: skip
    assert odd == []
    assert len(set(got)) >= 6  # the mutations reach many answers
