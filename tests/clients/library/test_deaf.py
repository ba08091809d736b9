"""A network that goes deaf: it takes everything, brings nothing, and closes no connection."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clients.errors import ConnectionLost
from clients.library import exchange
from clients.library.connection import connect
from clients.library.packets import CodesPacket
from clients.session.live_options import LiveOptions
from clients.session.run import LiveRun
from clients.session.status import Reporter
from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from tests.relay import Relay

PATIENCE = 60.0


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SILENCE", 1.0)
    monkeypatch.setattr(exchange, "CLOCK_EVERY", 0.1)


def test_a_server_that_has_gone_deaf_is_noticed(untrained: Codec) -> None:
    async def waits_for_a_publisher() -> None:
        settings = ServerSettings(port=0, max_sessions=9, ping_interval=0.1)
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
    link = live.progress.link
    assert (live.progress.reconnects, link.returns, sessions) == (0, 1, 1)
    assert heard == list(range(len(heard))), "one stream for the listener"
    assert 40 < len(heard) < seconds * SAMPLE_RATE / HOP
    assert "connection lost, coming back" in said.getvalue()
