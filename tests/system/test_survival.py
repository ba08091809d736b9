"""Sessions outlive their connections: a relay between both ends cuts them in the middle."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clients.errors import ConnectionLost
from clients.library import exchange, lifeline
from clients.library.connection import Session, connect
from clients.library.packets import AudioPacket, CodesPacket
from clients.session.live_options import LiveOptions
from clients.session.run import LiveRun
from clients.session.status import Reporter
from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE
from streaming.server import listening
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import Hello
from tests.relay import Relay

PATIENCE = 60.0
VOICE = np.linspace(-1, 1, 256, dtype=np.float32)


def noise(frames: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.05, frames * HOP).astype(np.float32)


def with_relay(
    codec: Codec,
    use: Callable[[Server, Relay], Awaitable[Any]],
    relay: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    async def work() -> Any:
        settings = ServerSettings(**{"port": 0, "max_sessions": 9, **options})
        async with (
            Server(settings, {"live": codec}) as server,
            Relay(server.url, **relay or {}) as between,
        ):
            return await use(server, between)

    return asyncio.run(asyncio.wait_for(work(), PATIENCE))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def heard(session: Session, into: list[AudioPacket]) -> None:
    async for packet in session:
        if isinstance(packet, AudioPacket):
            into.append(packet)


async def listen(ear: Session, seqs: list[int]) -> None:
    """Notes the numbers of the frames that come, to the end of the session."""
    async for packet in ear:
        if isinstance(packet, CodesPacket):
            seqs.extend(range(packet.seq, packet.seq + packet.codes.shape[1]))


def test_a_file_read_fast_loses_nothing(untrained: Codec, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(240), SAMPLE_RATE, subtype="FLOAT")
    up, down = (50_000, 150_000), (60_000, 120_000)
    said = io.StringIO()

    async def convert(url: str, output: Path) -> LiveRun:
        options = LiveOptions(
            url, "convert", voice=VOICE, fast=True, input=tmp_path / "in.wav", output=output
        )
        run = LiveRun(options, Reporter(errors=said, out=io.StringIO()), None)
        await run.run()
        return run

    async def use(server: Server, relay: Relay) -> LiveRun:
        await convert(server.url, tmp_path / "whole.wav")
        return await convert(relay.url, tmp_path / "cut.wav")

    run = with_relay(untrained, use, {"cut_after": (up, down)})
    assert run.progress.link.returns >= 2 and run.progress.reconnects == 0
    assert "connection lost, coming back" in said.getvalue()
    assert (tmp_path / "cut.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_a_live_session_goes_on_where_it_was(untrained: Codec) -> None:
    """Numbers and states: what comes is what an unbroken session gives."""
    sound = noise(100)

    async def talk(url: str, cut: Callable[[], None]) -> tuple[Session, list[AudioPacket]]:
        packets: list[AudioPacket] = []
        async with connect(url, role="convert", voice=VOICE, replay="newest", seed=5) as session:
            reading = asyncio.ensure_future(heard(session, packets))
            for number, hop in enumerate(sound.reshape(100, HOP)):
                await session.send_audio(hop)
                if number == 60:
                    await session.synchronise()
                    await until(lambda: len(packets) >= 55)
                if number == 80:  # so no more is lost than is sent again
                    cut()
            totals = await session.finish()
            await reading
        assert totals.frames_in == totals.frames_out == 100
        return session, packets

    async def use(server: Server, relay: Relay) -> Any:
        _, whole = await talk(server.url, lambda: None)
        session, broken = await talk(relay.url, relay.cut)
        assert server.runtime.metrics.sessions["convert"] == 2
        assert server.runtime.metrics.returned == 1 == session.returns
        return whole, broken

    whole, broken = with_relay(untrained, use)
    assert [packet.seq for packet in broken] == [packet.seq for packet in whole]
    for one, other in zip(whole, broken, strict=True):
        np.testing.assert_allclose(one.samples, other.samples, atol=1e-5)


def test_a_publisher_keeps_his_room_and_listeners_are_told(untrained: Codec) -> None:
    async def use(server: Server, relay: Relay) -> tuple[list[int], list[str]]:
        told: list[str] = []
        seqs: list[int] = []
        frames = np.random.default_rng(4).integers(0, 1024, (6, 60))
        async with (
            connect(relay.url, role="publish", input="codes", room="a", replay="newest") as mouth,
            connect(
                server.url, role="subscribe", output="codes", room="a", tell=told.append
            ) as ear,
        ):
            listening = asyncio.ensure_future(listen(ear, seqs))
            await mouth.send_codes(frames[:, :20])
            await until(lambda: len(seqs) == 20)
            relay.refuses = True
            relay.cut()
            await until(lambda: ear.publisher_is_away)
            assert mouth.is_away
            async with connect(server.url, role="subscribe", room="a", tell=told.append):
                await until(lambda: len(told) == 2)  # who comes late is told too
            relay.refuses = False
            await mouth.send_codes(frames[:, 20:])
            await until(lambda: not ear.publisher_is_away)
            await mouth.finish()
            await listening
            assert ear.totals is not None and ear.totals.reason == "publisher-left"
        return seqs, told

    seqs, told = with_relay(untrained, use)
    assert seqs == list(range(60))
    assert told[0] == told[1] == "the publisher's connection was lost: the room waits for it"
    assert told[2] == "the publisher is back"


def test_a_listener_comes_back_to_the_newest(untrained: Codec) -> None:
    async def use(server: Server, relay: Relay) -> list[int]:
        seqs: list[int] = []
        frames = np.random.default_rng(4).integers(0, 1024, (6, 300))
        async with (
            connect(server.url, role="publish", input="codes", room="a") as mouth,
            connect(relay.url, role="subscribe", output="codes", room="a") as ear,
        ):
            listening = asyncio.ensure_future(listen(ear, seqs))
            await mouth.send_codes(frames[:, :20])
            await until(lambda: len(seqs) == 20)
            relay.refuses = True
            relay.cut()
            await until(lambda: len(server.runtime.parking) == 1)
            await mouth.send_codes(frames[:, 20:280])
            await mouth.synchronise()
            await until(lambda: not server.runtime.engine.backlog)
            relay.refuses = False
            await until(lambda: ear.returns == 1)
            await mouth.send_codes(frames[:, 280:])
            await mouth.finish()
            await listening
            assert ear.frames_skipped == 280 - 20 - 40
        return seqs

    assert with_relay(untrained, use) == [*range(20), *range(240, 300)]


def test_a_client_comes_back_before_its_old_connection_is_known_to_be_dead(
    untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "SILENCE", 0.5)
    monkeypatch.setattr(exchange, "LOOK_EVERY", 0.1)
    sound = noise(60)

    async def use(server: Server, relay: Relay) -> tuple[int, int]:
        async with connect(relay.url, role="loopback") as session:
            await session.send_audio(sound[: 20 * HOP])
            await session.synchronise()
            relay.go_deaf()
            await session.send_audio(sound[20 * HOP :])
            packets: list[AudioPacket] = []
            reading = asyncio.ensure_future(heard(session, packets))
            totals = await session.finish()
            await reading
            assert [packet.seq for packet in packets] == list(range(60))
            return totals.frames_out, server.runtime.metrics.returned

    assert with_relay(untrained, use) == (60, 1)


def test_who_does_not_come_back_is_given_up(
    untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifeline, "WITHIN", 0.3)

    async def use(server: Server, relay: Relay) -> None:
        async with (
            connect(relay.url, role="publish", input="codes", room="a") as mouth,
            connect(server.url, role="subscribe", output="codes", room="a") as ear,
        ):
            relay.refuses = True
            relay.cut()
            with pytest.raises(ConnectionLost, match="the connection to the server was lost"):
                await mouth.finish()
            async for _ in ear:
                pass
            assert ear.totals is not None and ear.totals.reason == "publisher-left"
        assert len(server.runtime.parking) == 0 == len(server.runtime.rooms)

    with_relay(untrained, use, park=0.4)


def test_an_owner_who_begins_anew_is_not_locked_out_by_his_own_ghost(untrained: Codec) -> None:
    async def use(server: Server, relay: Relay) -> None:
        async with connect(relay.url, role="publish", room="a"):
            relay.refuses = True
            relay.cut()
            await until(lambda: len(server.runtime.parking) == 1)
            assert server.health()["parked"] == 1 and server.runtime.occupancy.computing == 0
            assert server.runtime.engine.load == 0.0
            async with connect(server.url, role="publish", room="a") as again:
                assert len(server.runtime.parking) == 0
                await again.finish()

    with_relay(untrained, use, max_sessions=1)


def test_rights_are_looked_at_again(untrained: Codec, tmp_path: Path, raw: Any) -> None:
    tokens = tmp_path / "tokens"
    owner, limited = "all-of-it-0123456789", "just-publish-0123456789"
    tokens.write_text(f"{owner}\n{limited} publish\n")
    tokens.chmod(0o600)

    async def use(server: Server, relay: Relay) -> None:
        async with connect(relay.url, role="loopback", token=owner) as session:
            resume = str(session.ready.resume)
            back = Hello("loopback", replay="all", resume=resume, received=0, token=owner)
            for hello, code in (
                (replace(back, token=limited), "forbidden"),
                (replace(back, token="wrong"), "unauthorized"),
                (replace(back, resume=resume[:-1]), "unknown-session"),
                (replace(back, resume=None), "unknown-session"),
                (back, "bad-field"),  # in version 1, which the session is not
            ):
                refused = await raw.session(server.url, hello)
                assert refused.error.code == code
            await session.finish()

    with_relay(untrained, use, token_file=str(tokens))


def test_a_link_that_is_slow_brings_all(untrained: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last seconds of sound lie in buffers when the server has nothing more to do."""
    monkeypatch.setattr(listening, "CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr(exchange, "CLOCK_EVERY", 0.1)
    sound = noise(240)

    async def use(_: Server, relay: Relay) -> int:
        async with connect(relay.url, role="loopback", replay=None) as session:
            return len(await session.process(sound, timeout=1.0))

    assert with_relay(untrained, use, {"rate": 150_000}) == len(sound)


def test_sessions_end_with_their_connections_where_nobody_asked_for_more(untrained: Codec) -> None:
    async def use(server: Server, relay: Relay) -> None:
        async with connect(relay.url, role="loopback", replay=None) as session:
            relay.cut()
            with pytest.raises(ConnectionLost):
                await session.finish()
            await until(lambda: not server.sessions)
            assert len(server.runtime.parking) == 0

    with_relay(untrained, use)


def test_a_shutdown_ends_who_is_away(untrained: Codec) -> None:
    async def use(server: Server, relay: Relay) -> str:
        async with (
            connect(relay.url, role="publish", input="codes", room="a"),
            connect(server.url, role="subscribe", output="codes", room="a") as ear,
        ):
            relay.refuses = True
            relay.cut()
            await until(lambda: len(server.runtime.parking) == 1)
            stopping = asyncio.ensure_future(server.stop())
            async for _ in ear:
                pass
            await stopping
            assert len(server.runtime.parking) == 0 and ear.totals is not None
            return ear.totals.reason

    assert with_relay(untrained, use) == "shutdown"
