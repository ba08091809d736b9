"""A network that goes deaf: it takes everything, brings nothing, and closes no connection."""

from __future__ import annotations

import asyncio
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clients.errors import ConnectionLost
from clients.library import exchange, socket
from clients.library.connection import connect
from clients.library.packets import CodesPacket
from clients.session.live_options import LiveOptions
from clients.session.run import LiveRun
from clients.session.status import Reporter
from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings

PATIENCE = 60.0


class Relay:
    """A TCP relay to a server that can go deaf to the connections it has, as a pulled cable does;
    new ones are served."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("ws://").split(":")
        self._target = host, int(port)
        self._generation = 0
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed.set()
        self._server.close()

    def go_deaf(self) -> None:
        self._generation += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        mine = self._generation
        pumps = [
            asyncio.ensure_future(self._pump(reader, far_writer, mine)),
            asyncio.ensure_future(self._pump(far_reader, writer, mine)),
        ]
        await self._closed.wait()
        for pump in pumps:
            pump.cancel()
        for end in (writer, far_writer):
            end.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mine: int
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if mine == self._generation:
                    writer.write(data)
            if mine == self._generation:
                writer.close()


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SILENCE", 1.0)
    monkeypatch.setattr(socket, "PING_INTERVAL", 0.1)


def test_a_server_that_has_gone_deaf_is_noticed(untrained: Codec) -> None:
    async def waits_for_a_publisher() -> None:
        settings = ServerSettings(port=0, max_sessions=9)
        async with Server(settings, {"live": untrained}) as server, Relay(server.url) as relay:
            session = connect(relay.url, role="subscribe", room="a", ready_timeout=None)
            opening = asyncio.ensure_future(session.__aenter__())
            while not server.runtime.occupancy.listeners:
                await asyncio.sleep(0.005)
            relay.go_deaf()
            with pytest.raises(ConnectionLost, match="nothing came from the server for 1 s"):
                await opening

    run(waits_for_a_publisher())


def test_a_publisher_comes_back_to_its_listeners(untrained: Codec, tmp_path: Path) -> None:
    seconds = 4
    path = tmp_path / "noise.wav"
    noise = np.random.default_rng(3).normal(0, 0.05, seconds * SAMPLE_RATE)
    soundfile.write(path, noise, SAMPLE_RATE)
    said = io.StringIO()

    async def scenario() -> tuple[LiveRun, list[int], int]:
        settings = ServerSettings(port=0, max_sessions=1)
        async with Server(settings, {"live": untrained}) as server, Relay(server.url) as relay:
            options = LiveOptions(relay.url, "publish", room="a", reconnect=True, input=path)
            live = LiveRun(options, Reporter(errors=said, out=io.StringIO()), None)
            publishing = asyncio.ensure_future(live.run())
            heard: list[int] = []
            async with connect(
                server.url, role="subscribe", output="codes", room="a", ready_timeout=None
            ) as session:
                async for packet in session:
                    if isinstance(packet, CodesPacket):
                        heard += range(packet.seq, packet.seq + packet.codes.shape[1])
                        if len(heard) == 40:
                            relay.go_deaf()
            await publishing
            return live, heard, server.runtime.metrics.sessions["publish"]

    live, heard, sessions = run(scenario())
    assert (live.progress.reconnects, sessions) == (1, 2)
    assert heard == list(range(len(heard))), "one stream for the listener"
    assert 40 < len(heard) < seconds * SAMPLE_RATE / HOP
    assert "nothing came from the server" in said.getvalue()
