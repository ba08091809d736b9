"""A real server process and real sockets against the offline codec."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE
from streaming.wire.protocol import Audio, End, Error, Hello, Ready, Voice
from tests.exactness import (
    assert_equal_audio,
    assert_equal_codes,
    assert_equal_numbers,
    assert_equal_speech,
)


@pytest.fixture(scope="module")
def server(server_process: Any) -> Any:
    with server_process() as process:
        yield process


@pytest.fixture(scope="module")
def voice(live: Codec, reply: np.ndarray) -> np.ndarray:
    return live.voice(reply)


@pytest.fixture(scope="module")
def offline(live: Codec, hello: np.ndarray, voice: np.ndarray) -> Callable[[], np.ndarray]:
    """Sends the clip through the offline codec."""
    return lambda: live.decode(live.encode(hello).codes, voice)


def with_voice(role: Any, voice: np.ndarray, **options: Any) -> Hello:
    return Hello(role, voice=Voice.exact(voice).data, **options)


def test_ready_line_tells_address_model_backend_and_latency(server: Any, live: Codec) -> None:
    delay = live.latency.total / SAMPLE_RATE * 1000
    assert (
        f"model live ({live.steps.backend}, {delay:.1f} ms algorithmic latency)"
        in server.first_line
    )


@pytest.mark.parametrize("cut", [HOP, 333, 16_000])
def test_loopback_equals_offline(
    raw: Any,
    server: Any,
    hello: np.ndarray,
    voice: np.ndarray,
    offline: Callable[[], np.ndarray],
    cut: int,
) -> None:
    request = with_voice("loopback", voice, frames_per_packet=3)
    heard = raw.run(raw.session(server.url, request, raw.audio(hello, cut, stamped=True)))
    assert_equal_speech(heard.samples, offline)
    assert heard.close_code == 1000
    assert heard.done.frames_in == heard.done.frames_out == -(-len(hello) // HOP)
    stamps = [message.stamps for message in heard.all(Audio)]
    assert all(0 <= a.t <= len(hello) / SAMPLE_RATE for a in stamps)
    assert [a.t for a in stamps] == sorted(a.t for a in stamps)
    assert all(a.queue >= 0 and a.encode > 0 for a in stamps)
    assert heard.done.encode > 0 and heard.done.decode > 0


def test_sound_comes_after_the_stated_latency_and_no_later(
    raw: Any, server: Any, hello: np.ndarray, voice: np.ndarray
) -> None:
    async def scenario() -> None:
        async with raw.connect(server.url) as socket:
            client = raw.client(socket)
            await client.send(with_voice("loopback", voice))
            ready = await client.until(Ready)
            fed, got = 0, 0
            for packet in raw.audio(hello[: 40 * HOP]):
                await client.send(packet)
                fed += HOP
                # The frame is owed as soon as its last sample's latency has been fed.
                while got * HOP + ready.latency.encoder + ready.latency.decoder <= fed:
                    assert (await client.until(Audio)).seq == got
                    got += 1
            assert got == (fed - ready.latency.encoder - ready.latency.decoder) // HOP + 1

    raw.run(scenario())


def test_loopback_without_a_voice_can_be_reproduced_offline(
    raw: Any, server: Any, live: Codec, hello: np.ndarray
) -> None:
    clip = hello[: 2 * SAMPLE_RATE]
    there = raw.run(raw.session(server.url, Hello("encode"), raw.audio(clip)))
    back = raw.run(raw.session(server.url, Hello("loopback"), raw.audio(clip, 777)))
    assert_equal_codes(there.codes, live.model, clip)
    assert 1 <= len(there.voices) < 20 and not there.voices[0].is_exact
    again = [message for message in there.messages if not isinstance(message, Ready)][:-1]
    decoded = raw.run(raw.session(server.url, Hello("decode"), again))
    assert_equal_audio(back.samples, decoded.samples)


def test_six_sessions_of_mixed_roles_and_two_that_go_wrong(
    raw: Any,
    server: Any,
    live: Codec,
    hello: np.ndarray,
    reply: np.ndarray,
    voice: np.ndarray,
    offline: Callable[[], np.ndarray],
) -> None:
    codes = live.encode(reply).codes

    async def vanish() -> None:
        async with raw.connect(server.url) as socket:
            await raw.client(socket).send(Hello("loopback"), *raw.audio(hello[:20_000]))
            socket.transport.abort()

    async def garbage() -> Any:
        noise = np.random.default_rng(0).bytes(5000)
        return await raw.session(server.url, Hello("encode"), [*raw.audio(hello[:4000]), noise])

    async def room() -> Any:
        async with raw.connect(server.url) as socket:
            listener = raw.client(socket)
            await listener.send(Hello("subscribe", room="tea"))
            await listener.settle()
            request = with_voice("publish", voice, room="tea")
            listening = asyncio.ensure_future(listener.rest())
            await raw.session(server.url, request, raw.audio(hello))
            return await listening

    async def scenario() -> list[Any]:
        session, url = raw.session, server.url
        return await asyncio.gather(
            session(url, Hello("encode"), raw.audio(reply)),
            session(url, with_voice("decode", voice), raw.codes(codes, 5)),
            session(url, with_voice("loopback", voice), raw.audio(hello)),
            session(url, with_voice("convert", voice), raw.audio(hello)),
            room(),
            garbage(),
            vanish(),
        )

    encoded, decoded, looped, converted, listened, refused, _ = raw.run(scenario())
    assert_equal_codes(encoded.codes, live.model, reply)
    assert_equal_audio(decoded.samples, live.decode(codes, voice))
    assert_equal_speech(looped.samples, offline)
    assert_equal_audio(converted.samples, live.convert(hello, voice))
    assert_equal_speech(listened.samples, offline)
    assert listened.done.reason == "publisher-left"
    assert (refused.error.code, refused.close_code) == ("bad-message", 1007)


def test_a_voice_may_be_named_and_moved_in_pitch_while_somebody_talks(
    raw: Any, server: Any, live: Codec, hello: np.ndarray
) -> None:
    clip = hello[: 2 * SAMPLE_RATE]
    higher = np.array(live.voices["rowan"])
    higher[-1] += 5 / 12  # octaves
    exact = {"identity": str(live.identity)}

    def heard(*voices: Voice) -> Any:
        hello_ = Hello("convert", voice="hazel")
        return raw.run(raw.session(server.url, hello_, [*voices, *raw.audio(clip)]))

    assert_equal_audio(heard(Voice("rowan")).samples, live.convert(clip, live.voices["rowan"]))
    moved = live.convert(clip, higher)
    assert_equal_audio(heard(Voice("rowan", shift=5.0)).samples, moved)
    given = Voice(Voice.exact(live.voices["rowan"]).data, **exact, shift=5)
    assert_equal_audio(heard(given).samples, moved)
    nobody = live.anonymous_voice(seed=7)
    assert_equal_audio(heard(Voice("anonymous.7")).samples, live.convert(clip, nobody))
    me = live.voices["rowan"]
    known = Hello("convert", voice="hazel", talker=Voice.exact(me).data)
    messages = [Voice("anonymous.7"), *raw.audio(clip)]
    far = live.convert(clip, live.anonymous_voice(me, seed=7), talker=me)
    assert_equal_audio(raw.run(raw.session(server.url, known, messages)).samples, far)
    assert heard(Voice("nobody")).error.code == "unknown-voice"
    assert heard(Voice("rowan", shift=99.0)).error.code == "bad-field"


def test_enrolled_voice_is_the_offline_voice(
    raw: Any, server: Any, live: Codec, reply: np.ndarray
) -> None:
    heard = raw.run(raw.session(server.url, Hello("enroll"), raw.audio(reply, 16_000)))
    assert heard.voices[0].is_exact
    assert_equal_numbers(heard.voices[0].vector(), live.voice(reply))


def test_a_killed_server_is_noticed_and_its_address_is_free_again(
    raw: Any, server_process: Any, hello: np.ndarray
) -> None:
    async def until_killed(process: Any) -> int | None:
        async with raw.connect(process.url) as socket:
            client = raw.client(socket)
            await client.send(Hello("loopback"), *raw.audio(hello[:8000]))
            await client.until(Audio)
            process.process.kill()
            with pytest.raises(ConnectionClosed):
                while True:
                    await client.next()
            return socket.close_code

    with server_process() as process:
        assert raw.run(until_killed(process)) == 1006
        port = process.url.rsplit(":", 1)[1]
    with server_process("--port", port) as again:
        heard = raw.run(raw.session(again.url, Hello("encode"), raw.audio(hello[:4000])))
        assert heard.close_code == 1000 and not heard.all(Error)


def test_end_without_media_is_done_at_once(raw: Any, server: Any) -> None:
    async def scenario() -> Any:
        async with raw.connect(server.url) as socket:
            client = raw.client(socket)
            await client.send(Hello("loopback"), End())
            return await client.rest()

    heard = raw.run(scenario())
    assert (heard.done.frames_in, heard.done.frames_out, heard.close_code) == (0, 0, 1000)
