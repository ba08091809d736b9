"""The client library against the real server, and against servers that refuse or misbehave."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request, Response

from clients.errors import (
    ClientError,
    ConnectError,
    ConnectionLost,
    FinishTimeout,
    Forbidden,
    NotAuthorized,
    ServerError,
    ServerFull,
    ServerUnreachable,
    UsageError,
    WrongProtocol,
)
from clients.library.addresses import check_address
from clients.library.connection import connect
from clients.library.packets import AudioPacket, CodesPacket, VoicePacket
from clients.library.refusals import explain_failure, explain_handshake, unreachable
from facodec.codec import Codec
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire import protocol
from streaming.wire.protocol import Clock, Done, LatencyInfo, Limits, Ready
from tests.exactness import assert_equal_audio

READY = Ready("s", "live", 16000, 200, 6, LatencyInfo(200, 200), Limits(2**17, 80, 2.0, 60.0))
PATIENCE = 60.0


def run(work: Awaitable[Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))  # type: ignore[arg-type]


def with_server(codec: Codec, use: Callable[[str], Awaitable[Any]], **options: Any) -> Any:
    async def work() -> Any:
        settings = ServerSettings(**{"port": 0, "max_sessions": 64, **options})
        async with Server(settings, {codec.name: codec}) as server:
            return await use(server.url)

    return run(work())


Talk = Callable[[ServerConnection], Awaitable[None]]


def with_fake(talk: Talk, use: Callable[[str], Awaitable[Any]]) -> Any:
    """A server that says what ``talk`` says, for what the real one never does."""

    async def work() -> Any:
        async with serve(talk, "127.0.0.1", 0, subprotocols=["facodec.v1"]) as server:  # type: ignore[list-item]
            port = next(iter(server.sockets)).getsockname()[1]
            return await use(f"ws://127.0.0.1:{port}")

    return run(work())


def with_refusal(response: Response, use: Callable[[str], Awaitable[Any]]) -> Any:
    def refuse(_: ServerConnection, __: Request) -> Response:
        return response

    async def never(_: ServerConnection) -> None:
        raise AssertionError("nobody gets here")

    async def work() -> Any:
        async with serve(never, "127.0.0.1", 0, process_request=refuse) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            return await use(f"ws://127.0.0.1:{port}")

    return run(work())


async def just_connect(url: str, **options: Any) -> None:
    async with connect(url, role="loopback", **options):
        pass


async def opened(peer: ServerConnection) -> None:
    """Say ready, and answer the clients' first questions about the time."""
    await peer.recv()
    await peer.send(protocol.encode(READY))
    for _ in range(3):
        asked = protocol.decode_client(await peer.recv(decode=False))
        assert isinstance(asked, Clock)
        await peer.send(protocol.encode(Clock(asked.t0, 1000.0)))


# ------------------------------------------------------------------------------ the real server


def test_a_loopback_session_from_beginning_to_end(untrained: Codec, hello: np.ndarray) -> None:
    sound = hello[:20_100]

    async def use(url: str) -> None:
        async with connect(url, role="loopback", seed=3) as session:
            assert session.ready.model == untrained.name
            assert session.clock.known
            for start in range(0, len(sound), 700):
                await session.send_audio(sound[start : start + 700], captured=5.0 + start)
            totals = await session.finish()
            packets = [packet async for packet in session]
            assert [packet async for packet in session] == []  # over is over
        audio = [packet for packet in packets if isinstance(packet, AudioPacket)]
        assert [packet.seq for packet in audio] == list(range(101))
        assert totals.frames_in == totals.frames_out == 101 == session.frames_sent
        assert len(np.concatenate([packet.samples for packet in audio])) == 101 * 200
        timed = [packet.times for packet in audio if packet.times.captured is not None]
        assert {times.captured for times in timed} <= {5.0 + s for s in range(0, 20_100, 700)}
        assert all(times.sent is not None and times.arrived >= times.sent for times in timed)
        wire = session.wire
        assert wire.bytes_up >= totals.bytes_in > 4 * len(sound)
        assert wire.bytes_down > 4 * 101 * 200

    with_server(untrained, use)


def test_codes_up_and_sound_down_with_a_voice(untrained: Codec, hello: np.ndarray) -> None:
    timbre = untrained.voice(hello)
    codes = untrained.encode(hello[:8000]).codes

    async def use(url: str) -> np.ndarray:
        async with connect(url, role="decode", voice=timbre, frames_per_packet=4) as session:
            await session.send_codes(codes)
            await session.finish()
            return np.concatenate(
                [packet.samples async for packet in session if isinstance(packet, AudioPacket)]
            )

    sound = with_server(untrained, use)
    assert_equal_audio(sound, untrained.decode(codes, timbre))


def test_fewer_layers_travel_and_voices_come_along(untrained: Codec, hello: np.ndarray) -> None:
    async def use(url: str) -> None:
        async with connect(url, role="encode", layers=3) as session:
            await session.send_audio(hello[:8000])
            await session.finish()
            packets = [packet async for packet in session]
        codes = [packet.codes for packet in packets if isinstance(packet, CodesPacket)]
        expected = untrained.encode(hello[:8000]).codes[:3]
        np.testing.assert_array_equal(np.concatenate(codes, axis=1), expected)
        voices = [packet for packet in packets if isinstance(packet, VoicePacket)]
        assert voices and not voices[0].exact and voices[0].timbre.shape == (256,)

    with_server(untrained, use)


def test_a_publisher_is_heard_with_its_own_capture_times(
    untrained: Codec, hello: np.ndarray
) -> None:
    async def use(url: str) -> None:
        clock = asyncio.get_running_loop().time
        async with connect(url, role="publish", room="kitchen") as publisher:
            listening = connect(url, role="subscribe", room="kitchen", output="pcm")
            async with listening as listener:
                before = clock()
                await publisher.send_audio(hello[:4000], captured=before)
                await publisher.synchronise()
                await publisher.finish()
                packets = [p async for p in listener if isinstance(p, AudioPacket)]
                assert listener.totals is not None
                assert listener.totals.reason == "publisher-left"
        captured = [p.times.captured for p in packets if p.times.captured is not None]
        assert captured and all(abs(time - before) < 0.5 for time in captured)
        assert all(packet.times.sent is None for packet in packets)

    with_server(untrained, use)


def test_the_servers_own_sentence_comes_as_an_exception(untrained: Codec) -> None:
    async def unknown_voice(url: str) -> None:
        await just_connect(url, voice="nobody")

    with pytest.raises(ServerError, match="no voice 'nobody' here") as caught:
        with_server(untrained, unknown_voice)
    assert caught.value.code == "unknown-voice" and not caught.value.retryable

    async def not_a_number(url: str) -> None:
        async with connect(url, role="loopback") as session:
            await session.send_audio(np.full(200, np.nan, np.float32))
            async for _ in session:
                pass

    with pytest.raises(ServerError, match="expected finite samples"):
        with_server(untrained, not_a_number)

    async def keeps_sending(url: str) -> None:
        async with connect(url, role="loopback") as session:
            while True:
                await session.send_audio(np.full(200, np.nan, np.float32))

    with pytest.raises(ServerError, match="expected finite samples"):
        with_server(untrained, keeps_sending)


def test_a_full_server_and_a_wrong_token(untrained: Codec) -> None:
    async def second(url: str) -> None:
        async with connect(url, role="loopback"):
            await just_connect(url)

    with pytest.raises(ServerFull, match=r"is full .*try again later") as caught:
        with_server(untrained, second, max_sessions=1)
    assert caught.value.retry_after is None and caught.value.retryable

    async def wrong_token(url: str) -> None:
        await just_connect(url, token="guess")

    with pytest.raises(NotAuthorized, match=r"wants a token.*FACODEC_TOKEN"):
        with_server(untrained, wrong_token, tokens=("secret",))

    async def right_token(url: str) -> None:
        await just_connect(url, token="secret")

    with_server(untrained, right_token, tokens=("secret",))


def test_too_few_layers_are_an_error_here(untrained: Codec) -> None:
    async def use(url: str) -> None:
        async with connect(url, role="decode") as session:
            await session.send_codes(np.zeros((3, 5), np.int64))

    with pytest.raises(ValueError, match="expected 6 layers of codes, got 3"):
        with_server(untrained, use)


# ------------------------------------------------------------------------------ nobody, or others


def test_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ServerUnreachable, match=r"start one with `facodec serve`$"):
            run(just_connect(url))


def test_nobody_answers_at_an_address_without_a_port() -> None:
    sentence = unreachable("ws://kitchen.local", ConnectionRefusedError())
    assert sentence.startswith(
        "no server answers at ws://kitchen.local, which names no port (8765 is usual): start one"
    )


def test_a_server_without_tls() -> None:
    async def use(url: str) -> None:
        with pytest.raises(
            ServerUnreachable, match=f"does not speak TLS: its address may be {url}"
        ):
            await just_connect(url.replace("ws:", "wss:"))

    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    run(beside(no_tls, use))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "ws://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConnectError, match="is no server address"):
        run(just_connect(url))


def test_an_unknown_host() -> None:
    with pytest.raises(ServerUnreachable, match=r"is unknown|cannot connect"):
        run(just_connect("ws://no-such-host.invalid:1"))


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (426, WrongProtocol, "does not speak facodec.v2 or facodec.v1 .speak better."),
        (401, NotAuthorized, "wants a token .speak better."),
        (503, ServerFull, "full .speak better.: try again later"),
        (403, Forbidden, "does not let this client in .speak better."),
        (429, ServerFull, "wants this address to wait .speak better.: try again later"),
        (404, WrongProtocol, "HTTP 404 .speak better."),
        (502, ServerUnreachable, "does not answer the proxy before it .HTTP 502."),
        (504, ServerUnreachable, "does not answer the proxy before it .HTTP 504."),
    ],
)
def test_refusals_before_the_upgrade(status: int, kind: type[ClientError], sentence: str) -> None:
    response = Response(status, HTTPStatus(status).phrase, Headers(), b'{"message":"speak better"}')
    with pytest.raises(kind, match=sentence):
        with_refusal(response, just_connect)


async def beside(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    use: Callable[[str], Awaitable[None]],
) -> None:
    """Uses the address of what is no WebSocket server."""
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        await use(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def connect_to(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    """Connects to what is no WebSocket server."""
    await beside(answer, just_connect)


def test_a_server_that_dies_while_it_is_connected_to_may_come_back() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    with pytest.raises(
        ServerUnreachable, match=r"went away before it answered; if it uses TLS, it is wss://127"
    ):
        run(connect_to(hang_up))


def test_what_is_no_websocket_server() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    with pytest.raises(ConnectError, match="no facodec server"):
        run(connect_to(answer))


def test_a_sender_learns_that_the_server_shuts_down() -> None:
    async def talk(peer: ServerConnection) -> None:
        await opened(peer)
        await peer.send(protocol.encode(Done(0, 0, reason="shutdown")))
        await peer.close(1001)

    async def sending(url: str) -> None:
        async with connect(url, role="loopback") as session:
            while True:
                await session.send_audio(np.zeros(200, np.float32))

    with pytest.raises(ConnectionLost, match="the server is shutting down"):
        with_fake(talk, sending)


def test_a_connection_that_breaks_says_so_to_reader_and_sender() -> None:
    async def talk(peer: ServerConnection) -> None:
        await opened(peer)
        peer.transport.abort()

    async def reading(url: str) -> None:
        async with connect(url, role="loopback") as session:
            async for _ in session:
                pass

    async def sending(url: str) -> None:
        async with connect(url, role="loopback") as session:
            while True:
                await session.send_audio(np.zeros(200, np.float32))

    async def finishing(url: str) -> None:
        async with connect(url, role="loopback") as session:
            await session.finish()

    async def synchronising(url: str) -> None:
        async with connect(url, role="loopback") as session:
            while True:
                await session.synchronise()

    for use in (reading, sending, finishing, synchronising):
        with pytest.raises(ConnectionLost, match="connection to the server was lost"):
            with_fake(talk, use)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(1001, "shutting down"), (1013, "overloaded.*why.*later"), (1008, "code 1008: why")],
)
def test_a_close_is_explained(code: int, sentence: str) -> None:
    async def talk(peer: ServerConnection) -> None:
        await opened(peer)
        await peer.close(code, "why")

    async def use(url: str) -> None:
        async with connect(url, role="loopback") as session:
            async for _ in session:
                pass

    with pytest.raises(ConnectionLost, match=sentence):
        with_fake(talk, use)


def test_a_server_that_talks_nonsense() -> None:
    async def talk(peer: ServerConnection) -> None:
        await opened(peer)
        await peer.send(b"\xc1garbage")
        await peer.wait_closed()

    async def use(url: str) -> None:
        async with connect(url, role="loopback") as session:
            async for _ in session:
                pass

    with pytest.raises(ConnectionLost, match=r"no facodec\.v1 message"):
        with_fake(talk, use)


def test_a_server_that_never_gets_ready_or_never_finishes() -> None:
    async def silent(peer: ServerConnection) -> None:
        await peer.wait_closed()

    async def impatient(url: str) -> None:
        await just_connect(url, ready_timeout=0.05)

    with pytest.raises(ConnectError, match=r"did not answer within 0\.05 s"):
        with_fake(silent, impatient)

    async def never_done(peer: ServerConnection) -> None:
        await opened(peer)
        await peer.wait_closed()

    async def finish(url: str) -> None:
        async with connect(url, role="loopback") as session:
            await session.finish(timeout=0.05)

    with pytest.raises(FinishTimeout, match=r"nothing came for 0\.05 s"):
        with_fake(never_done, finish)


def test_packets_that_came_before_an_error_are_still_read() -> None:
    async def talk(peer: ServerConnection) -> None:
        await opened(peer)
        sound = protocol.pcm_to_bytes(np.ones(200, np.float32), "f32")
        await peer.send(protocol.encode(protocol.Audio(0, sound)))
        await peer.send(protocol.encode(protocol.Error("overloaded", "too many cooks")))
        await peer.close(1013)

    async def use(url: str) -> None:
        got = []
        async with connect(url, role="loopback") as session:
            with pytest.raises(ServerError, match="too many cooks") as caught:
                async for packet in session:
                    got.append(packet)
            with pytest.raises(ServerError, match="too many cooks"):
                await session.send_audio(np.zeros(200, np.float32))
        assert len(got) == 1 and caught.value.retryable

    with_fake(talk, use)


def test_closing_wakes_whoever_waits_for_a_packet() -> None:
    async def talk(peer: ServerConnection) -> None:
        await opened(peer)
        await peer.wait_closed()

    async def use(url: str) -> None:
        async with connect(url, role="loopback") as session:
            waiting = asyncio.create_task(session.__anext__())
            await asyncio.sleep(0)
        with pytest.raises(StopAsyncIteration):
            await waiting

    with_fake(talk, use)


def test_done_without_end_ends_the_iteration() -> None:
    async def talk(peer: ServerConnection) -> None:
        await opened(peer)
        await peer.send(protocol.encode(Done(0, 0, reason="publisher-left")))
        await peer.close()

    async def use(url: str) -> str:
        async with connect(url, role="subscribe", room="r") as session:
            assert [packet async for packet in session] == []
            return (await session.finish()).reason

    assert with_fake(talk, use) == "publisher-left"


def test_process_takes_audio_of_any_length(live: Codec, hello: np.ndarray) -> None:
    """More than the packets that may wait for a reader."""
    audio = np.tile(hello, 10)[: 60 * 16000]

    async def use(url: str) -> np.ndarray:
        async with connect(url, role="loopback", voice=live.voice(hello)) as session:
            return await session.process(audio)

    heard = with_server(live, use)
    expected = live.decode(live.encode(audio).codes, live.voice(hello))
    assert heard.shape == expected.shape
    # Among so many codes some are ties, which may fall either way.
    assert np.corrcoef(heard, expected)[0, 1] > 0.999


def test_process_tells_what_went_wrong(live: Codec) -> None:
    async def ends(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(protocol.encode(READY))
        await socket.send(protocol.encode(protocol.Error("internal", "lightning struck")))
        await socket.wait_closed()

    async def use(url: str) -> None:
        async with connect(url, role="loopback") as session:
            with pytest.raises(ServerError, match="lightning struck"):
                await session.process(np.zeros(160_000, np.float32))

    with_fake(ends, use)


PROXIES = ("http://proxy.invalid:3128", "socks5://user:secret@127.0.0.1:1", "127.0.0.1:3128", "x:")


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_server_on_this_machine_is_reached_past_any_proxy(
    proxy: str, live: Codec, hello: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("no_proxy", raising=False)

    async def use(url: str) -> None:
        async with connect(url, role="loopback") as session:
            assert len(await session.process(hello[:4000])) == 4000
        async with connect(url.replace("127.0.0.1", "localhost"), role="loopback"):
            pass

    with_server(live, use)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", *PROXIES[1:]])
def test_a_proxy_that_fails_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def use() -> None:
        async with connect("ws://facodec.invalid:8765", role="loopback"):
            pass

    with pytest.raises(ServerUnreachable, match="through the proxy") as failed:
        run(use())
    assert "secret" not in str(failed.value) and "NO_PROXY=facodec.invalid" in str(failed.value)


@pytest.mark.parametrize(
    "url", ["", "ws://", "http://a", "ws://a..b", "ws://[", "ws://" + "a" * 9999]
)
def test_addresses_that_are_none(url: str) -> None:
    async def use() -> None:
        async with connect(url, role="loopback"):
            pass

    with pytest.raises(ConnectError, match="is no server address; one is ws://"):
        run(use())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("http://host:8765/", "ws://host:8765/"),
        ("https://host", "wss://host"),
        ("host:8765", "ws://host:8765"),
        ("[::1]:9", "ws://[::1]:9"),
        ("http://user:secret@host", "ws://host"),
        ("two words", "ws://127.0.0.1:8765"),
        ("ftp://host", "ws://127.0.0.1:8765"),
        ("http://host:99999", "ws://127.0.0.1:8765"),
        ("ws:/host", "ws://host"),
        ("WSS:host:1", "wss://host:1"),
        ("quic:host", "quic://host"),
        ("://host", "ws://host"),
        ("ws://a b", "ws://127.0.0.1:8765"),
        ("ws://host\n", "ws://127.0.0.1:8765"),
    ],
)
def test_an_address_that_is_nearly_one_is_told_with_the_right_one(typed: str, meant: str) -> None:
    with pytest.raises(ConnectError) as refused:
        check_address(typed)
    assert str(refused.value).endswith(f" is no server address; one is {meant}")


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("ws://a:99999", "99999"),
        ("wss://b:65536/x", "65536"),
        ("ws://c:0", "0"),
        ("quic://d:00", "00"),
    ],
)
def test_a_port_that_is_none_is_told(address: str, port: str) -> None:
    with pytest.raises(ConnectError) as refused:
        check_address(address)
    assert str(refused.value) == f"expected a port of 1 to 65535 in {address!r}, got {port}"


SECRETS = ("user:secret@", "secret@", "u:sec?secret@", "user:a@secret@")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("query", ["", "/?token=secret", "/?secret@x"])
def test_secrets_in_addresses_are_not_shown(secret: str, query: str) -> None:
    url = f"ws://{secret}127.0.0.1:9{query}"
    errors = (
        explain_failure(url, None, ConnectionRefusedError()),
        explain_failure(url, f"http://{secret}proxy:1", OSError("no")),
        explain_failure(url, None, RuntimeError("no")),
        explain_handshake(url, InvalidHandshake("no")),
    )
    assert not [str(error) for error in errors if "sec" in str(error)]
    with pytest.raises(ConnectError) as refused:
        check_address(f"http://{secret}127.0.0.1{query}")
    assert "sec" not in str(refused.value)


def test_a_session_knows_what_the_other_end_has_not_acknowledged() -> None:
    async def use(url: str) -> None:
        async with connect(url, role="loopback") as session:
            before = session.bytes_sent
            await session.send_audio(np.zeros(400, np.float32))
            assert 1600 < session.bytes_sent - before < 1660
            while session.unacknowledged:  # a peer may take 40 ms to say so
                await asyncio.sleep(0.005)
            silence = np.zeros(1 << 20, np.float32)
            flood = asyncio.create_task(session.send_audio(silence))
            for _ in range(20):
                await asyncio.sleep(0.005)
            assert not flood.done()  # nobody reads any more
            assert session.unacknowledged > 1 << 15
            flood.cancel()
            session.transport.abort()
            assert session.unacknowledged >= 0
            seen.set()

    async def talk(peer: ServerConnection) -> None:
        await opened(peer)
        await peer.recv()
        peer.transport.pause_reading()
        await seen.wait()
        peer.transport.abort()

    seen = asyncio.Event()
    with_fake(talk, use)


@pytest.mark.parametrize("what", ["model", "voice", "room"])
def test_a_name_that_cannot_be_sent_is_told(what: str) -> None:
    named: dict[str, Any] = {what: os.fsdecode(b"\xff")}
    with pytest.raises(UsageError, match=rf"a {what}'s name in UTF-8, got '.xff'$"):
        connect("ws://127.0.0.1:1", role="loopback", **named)
