"""The end of a server process: clean on the first signal, at once on the second."""

from __future__ import annotations

import asyncio
import json
import signal
import socket as sockets
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from facodec.codec import Codec
from streaming.wire.protocol import Audio, Hello, Ready, Voice
from tests.exactness import assert_equal_speech


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sessions_are_flushed_and_finished(
    raw: Any, server_process: Any, live: Codec, hello: np.ndarray, number: int
) -> None:
    voice = live.voice(hello)
    clip = hello[:8000]

    async def scenario(process: Any) -> list[Any]:
        async with (
            raw.connect(process.url) as one,
            raw.connect(process.url) as two,
            raw.connect(process.url) as three,
            raw.connect(process.url),
        ):
            talker, listener, waiting = (raw.client(socket) for socket in (one, two, three))
            await waiting.send(Hello("subscribe", room="nobody"))
            await waiting.settle()
            await listener.send(Hello("subscribe", room="a"))
            await listener.settle()
            request = Hello("publish", room="a", voice=Voice.exact(voice).data)
            await talker.send(request, *raw.audio(clip))
            while not (isinstance(await listener.next(), Audio) and _is_last(listener, clip)):
                pass
            process.process.send_signal(number)
            return [await client.rest() for client in (talker, listener, waiting)]

    with server_process("--drain", "30") as process:
        talked, listened, waited = raw.run(scenario(process))
        status, _, errors = process.finish()
    assert (status, errors) == (0, "")
    assert (talked.done.reason, talked.close_code) == ("shutdown", 1001)
    assert talked.done.frames_in == 40
    assert (listened.done.reason, listened.close_code) == ("shutdown", 1001)
    assert_equal_speech(listened.samples, lambda: live.decode(live.encode(clip).codes, voice))
    assert waited.close_code == 1001


def _is_last(listener: Any, clip: np.ndarray) -> bool:
    """Whether the listener has all that comes before a flush: all but the decoder's last hop."""
    return listener.heard.messages[-1].seq == len(clip) // 200 - 2


CODES = np.zeros((6, 80 * 2000), np.int64)


async def _holds_back(url: str) -> bool:
    """Whether the server has stopped reading somebody, by its own account."""

    def ask() -> int:
        with urlopen(url.replace("ws://", "http://") + "/healthz", timeout=10) as answer:
            return int(json.load(answer)["metrics"]["paused_total"])

    return await asyncio.to_thread(ask) > 0


def test_a_second_signal_does_not_wait_for_who_does_not_listen(
    raw: Any, server_process: Any
) -> None:
    async def scenario(process: Any) -> None:
        host, port = process.url.removeprefix("ws://").split(":")
        narrow = sockets.socket()
        narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        narrow.connect((host, int(port)))
        async with raw.connect(process.url, sock=narrow, max_queue=1, close_timeout=0.1) as socket:
            client = raw.client(socket)
            await client.send(Hello("loopback", "codes"))
            await client.until(Ready)
            # More codes than the sockets between us hold: their echo cannot all be taken.
            stuffing = asyncio.ensure_future(client.send(*raw.codes(CODES, 80)))
            while not await _holds_back(process.url):
                pass
            process.process.send_signal(signal.SIGTERM)
            assert process.process.stdout is not None
            line = await asyncio.to_thread(process.process.stdout.readline)
            assert "finishing 1 sessions" in line
            process.process.send_signal(signal.SIGTERM)
            status, _, errors = await asyncio.to_thread(process.finish)
            stuffing.cancel()
            await asyncio.wait({stuffing})
            assert (status, errors) == (0, "")

    with server_process("--drain", "1000", "--outbox", "1", "--backlog", "1000") as process:
        raw.run(scenario(process))
