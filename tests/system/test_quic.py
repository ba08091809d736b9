"""QUIC from end to end: the same sessions as over a WebSocket, refused and bounded alike, over
networks that lose packets and change addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from clients.errors import ServerError, ServerFull, ServerUnreachable, UsageError
from clients.library.asking import ask
from clients.library.connection import Session, connect
from clients.library.packets import AudioPacket, CodesPacket, LostPacket, Packet
from clients.session.live_options import LiveOptions
from facodec import extras
from facodec.codec import Codec
from streaming.server import quic
from streaming.server.addresses import parse_address
from streaming.server.listening import Server
from streaming.server.pace import Allowance
from streaming.server.settings import ServerSettings
from streaming.server.tls import own_certificate

PATIENCE = 30.0
CODES = np.random.default_rng(3).integers(0, 1024, (6, 80))
AT_ONCE = 48
"""Frames sent in one go, fewer than the datagrams that wait for a network."""
LOOPBACK: dict[str, Any] = {"role": "loopback", "input": "codes", "output": "codes"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(own_certificate(tmp_path_factory.mktemp("quic"), ["localhost", "127.0.0.1"]))


def run(work: Awaitable[Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))  # type: ignore[arg-type]


def serving(codec: Codec, certificate: str, **options: Any) -> Server:
    settings = ServerSettings(port=0, max_sessions=4, tls_cert=certificate, quic_port=0, **options)
    return Server(settings, {codec.name: codec})


def address(server: Server) -> str:
    assert server.quic_url is not None
    return server.quic_url


async def everything(session: Session) -> list[Packet]:
    return [packet async for packet in session]


class Relay(asyncio.DatagramProtocol):
    """A network between one client and a server, whose address towards the server may change.
    ``drops``: which of the packets from the client, by number, it loses."""

    def __init__(self, server: tuple[str, int], drops: Callable[[int], bool]) -> None:
        self._server, self._drops = server, drops
        self._client: Any = None
        self._count = 0
        self._outside: list[asyncio.DatagramTransport] = []

    async def open(self) -> int:
        """Returns its port."""
        loop = asyncio.get_running_loop()
        self._inside, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        await self.move()
        return int(self._inside.get_extra_info("sockname")[1])

    async def move(self) -> None:
        """From here on it has another address."""
        back = Back(lambda data: self._inside.sendto(data, self._client))
        loop = asyncio.get_running_loop()
        outside, _ = await loop.create_datagram_endpoint(lambda: back, local_addr=("127.0.0.1", 0))
        self._outside.append(outside)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._client = addr
        self._count += 1
        if not self._drops(self._count):
            self._outside[-1].sendto(data, self._server)

    def close(self) -> None:
        for each in (self._inside, *self._outside):
            each.close()


class Back(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data)


async def through(server: Server, drops: Callable[[int], bool]) -> tuple[Relay, str]:
    """A relay to the server, and the address to connect to."""
    relay = Relay(("127.0.0.1", int(address(server).rpartition(":")[2])), drops)
    return relay, f"quic://127.0.0.1:{await relay.open()}"


def test_codes_come_back_as_they_were_sent(untrained: Codec, certificate: str) -> None:
    async def scenario() -> tuple[Session, list[Packet]]:
        async with (
            serving(untrained, certificate) as server,
            connect(address(server), ca=certificate, redundancy=2, **LOOPBACK) as session,
        ):
            for at in range(0, AT_ONCE, 4):
                await session.send_codes(CODES[:, at : at + 4])
            await session.finish()
            return session, await everything(session)

    session, packets = run(scenario())
    assert session.ready.version == 2 and session.ready.redundancy == 2
    codes = [packet for packet in packets if isinstance(packet, CodesPacket)]
    for packet in codes:
        sent = CODES[:, packet.seq : packet.seq + packet.codes.shape[1]]
        assert packet.repaired or np.array_equal(packet.codes, sent)
    lost = sum(packet.frames for packet in packets if isinstance(packet, LostPacket))
    assert sum(packet.codes.shape[1] for packet in codes) + lost >= AT_ONCE - 1


def test_files_and_sound_lose_nothing(untrained: Codec, certificate: str) -> None:
    samples = np.random.default_rng(0).standard_normal(8_000).astype(np.float32) * 0.1

    async def scenario(url: str) -> tuple[np.ndarray, np.ndarray]:
        async with connect(url, role="loopback", ca=certificate) as session:
            sound = await session.process(samples)
        async with connect(
            url, ca=certificate, datagrams=False, frames_per_packet=8, **LOOPBACK
        ) as session:
            for _ in range(20):
                await session.send_codes(CODES)
            await session.finish()
            packets = await everything(session)
        assert all(isinstance(packet, CodesPacket) and not packet.repaired for packet in packets)
        return sound, np.concatenate([p.codes for p in packets if isinstance(p, CodesPacket)], 1)

    async def both() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        async with serving(untrained, certificate) as server:
            return await scenario(address(server)), await scenario(server.url)

    (sound, codes), (same, again) = run(both())
    assert np.array_equal(sound, same) and np.array_equal(codes, again)
    assert np.array_equal(codes, np.tile(CODES, 20))


@pytest.mark.parametrize("distance", [None, 2])
def test_a_lost_packet_costs_detail_where_it_is_repeated(
    live: Codec, certificate: str, distance: int | None
) -> None:
    """Two packets in a row of eight are lost on the way to the room."""
    began = False

    def drops(number: int) -> bool:
        return began and number % 8 in (3, 4)

    async def scenario() -> list[Packet]:
        nonlocal began
        async with serving(live, certificate) as server:
            relay, url = await through(server, drops)
            async with (
                connect(url, role="publish", room="tea", input="codes", ca=certificate,
                        redundancy=distance) as mouth,
                connect(server.url, role="subscribe", room="tea", output="codes", ca=certificate,
                        frames_per_packet=4) as ear,
            ):  # fmt: skip
                hearing = asyncio.ensure_future(everything(ear))
                began = True
                for at in range(0, 80, 4):
                    await mouth.send_codes(CODES[:, at : at + 4])
                    await asyncio.sleep(0.002)  # a packet each
                began = False
                await mouth.finish()
                relay.close()
                return await hearing

    packets = [packet for packet in run(scenario()) if isinstance(packet, CodesPacket)]
    heard = np.concatenate([packet.codes for packet in packets], axis=1)
    same = (heard == CODES[:, : heard.shape[1]]).reshape(6, -1, 4).all(axis=2)
    assert same[3:].all(axis=0).sum() < same.shape[1]  # something was lost
    if distance is None:
        assert not same[:3].all()
    else:
        assert same[:3].all(axis=0).sum() > same[3:].all(axis=0).sum()


def test_what_is_on_the_way_counts_as_not_acknowledged(untrained: Codec, certificate: str) -> None:
    """A slow path takes all at once into its queue: only acknowledgements tell of it."""
    cut = False

    async def scenario() -> tuple[int, int]:
        nonlocal cut
        async with serving(untrained, certificate) as server:
            relay, url = await through(server, lambda number: cut)
            async with connect(url, ca=certificate, **LOOPBACK) as session:
                cut = True
                await session.send_codes(CODES[:, :4])
                for _ in range(20):
                    await asyncio.sleep(0)
                on_the_way = session.unacknowledged
                cut = False
                await session.synchronise()
                while session.unacknowledged:
                    await asyncio.sleep(0.01)
                relay.close()
                return on_the_way, session.unacknowledged

    on_the_way, left = run(scenario())
    assert on_the_way > 30 and left == 0


def test_a_moving_address_keeps_its_session(untrained: Codec, certificate: str) -> None:
    async def scenario() -> None:
        async with serving(untrained, certificate) as server:
            relay, url = await through(server, lambda number: False)
            async with connect(url, ca=certificate, **LOOPBACK) as session:
                await session.synchronise()
                await relay.move()
                await session.synchronise()
                await session.send_codes(CODES[:, :4])
                totals = await session.finish()
                assert totals.reason == "end"
            relay.close()

    run(scenario())


def test_tokens_are_asked_for_as_over_a_websocket(untrained: Codec, certificate: str) -> None:
    async def scenario() -> list[str]:
        codes = []
        async with serving(untrained, certificate, tokens=("secret",)) as server:
            async with connect(address(server), ca=certificate, token="secret", **LOOPBACK):
                pass
            gate = vars(server)["_gate"]
            for token in (None, "guess", "secret"):
                with pytest.raises(ServerError) as caught:
                    async with connect(address(server), ca=certificate, token=token, **LOOPBACK):
                        pass
                codes.append(caught.value.code)
                for _ in range(5 * (token == "guess")):  # guesses of others there
                    vars(gate)["_addresses"].fail(
                        parse_address("127.0.0.1"), vars(gate)["_clock"]()
                    )
        return codes

    assert run(scenario()) == ["unauthorized", "unauthorized", "too-many-attempts"]


def test_connections_and_sessions_of_one_address_are_counted_together(
    untrained: Codec, certificate: str
) -> None:
    async def scenario() -> list[tuple[str, float | None]]:
        refused = []
        async with (
            serving(untrained, certificate, address_connections=2) as server,
            connect(server.url, ca=certificate, **LOOPBACK),
            connect(address(server), ca=certificate, **LOOPBACK),
        ):
            for url in (server.url, address(server)):
                with pytest.raises(ServerFull) as caught:
                    async with connect(url, ca=certificate, **LOOPBACK):
                        pass
                refused.append((str(caught.value).replace(url, "URL"), caught.value.retry_after))
            assert server.runtime.metrics.refused["429"] == 2
        return refused

    over_websocket, over_quic = run(scenario())
    assert over_quic == over_websocket
    sentence, advice = over_quic
    assert "wants this address to wait (too many connections from your address" in sentence
    assert advice is not None and advice > 0


def test_a_full_server_says_when_to_come_again(untrained: Codec, certificate: str) -> None:
    async def scenario() -> ServerFull:
        async with serving(untrained, certificate) as server:
            server.runtime.draining = True
            with pytest.raises(ServerFull) as caught:
                async with connect(address(server), ca=certificate, **LOOPBACK):
                    pass
            return caught.value

    refusal = run(scenario())
    assert refusal.retry_after == 5
    assert "is full (all sessions are taken): try again in 5 s" in str(refusal)


def test_who_says_nothing_has_to_leave(untrained: Codec, certificate: str) -> None:
    async def scenario() -> str:
        from clients.library.quic import open_quic

        async with serving(untrained, certificate, hello_timeout=0.1) as server:
            socket = await open_quic(address(server), certificate, datagrams=True, timeout=5.0)
            with pytest.raises(ConnectionClosed) as caught:
                await socket.recv()
            await socket.close()
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1008
            return caught.value.rcvd.reason

    assert run(scenario()) == "hello-timeout"


def test_one_client_that_floods_is_not_read(untrained: Codec, certificate: str) -> None:
    async def scenario() -> None:
        async with (
            serving(untrained, certificate) as server,
            connect(address(server), ca=certificate, **LOOPBACK) as session,
        ):
            (socket,) = (vars(peer)["_link"].socket for peer in vars(server)["_peers"])
            assert isinstance(socket, quic.QuicPeerSocket)
            assert socket.read_since_last_look()
            now = 0.0
            vars(socket)["_allowance"] = Allowance(1000.0, quic.PACKET_BURST, lambda: now)
            before = socket.received
            for _ in range(2 * int(quic.PACKET_BURST)):
                socket.datagram_received(b"@" + bytes(40), ("127.0.0.1", 9))
            assert socket.received - before == quic.PACKET_BURST
            assert not socket.read_since_last_look()
            now = 1.0
            await session.synchronise()  # once that has passed it is read again

    run(scenario())


def test_a_server_that_is_not_known_is_not_believed(untrained: Codec, certificate: str) -> None:
    async def scenario() -> None:
        async with serving(untrained, certificate) as server:
            with pytest.raises(ServerUnreachable, match=r"give the certificate .* with --ca"):
                async with connect(address(server), **LOOPBACK):
                    pass

    run(scenario())


def test_the_server_says_goodbye(untrained: Codec, certificate: str) -> None:
    async def scenario() -> str:
        server = serving(untrained, certificate)
        await server.start()
        async with connect(address(server), ca=certificate, role="loopback") as session:
            await session.send_audio(np.zeros(2000, np.float32))
            await session.synchronise()
            stopping = asyncio.ensure_future(server.stop())
            packets = await everything(session)
            await stopping
            assert session.totals is not None
            assert sum(len(p.samples) for p in packets if isinstance(p, AudioPacket)) == 2000
            return session.totals.reason

    assert run(scenario()) == "shutdown"


def test_without_aioquic_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)

    async def scenario() -> None:
        async with connect("quic://localhost:1", **LOOPBACK):
            pass

    with pytest.raises(extras.MissingExtra, match=r"aioquic.*\[quic\]"):
        run(scenario())


def test_what_does_not_go_over_quic_says_so() -> None:
    with pytest.raises(UsageError, match="ws:// or wss://"):
        ask("quic://localhost:1", "sessions", token=None, ca=None)
    with pytest.raises(ValueError, match="--tls-cert, or --tls-self-signed"):
        ServerSettings(quic_port=0)


def test_repeats_go_where_packets_may_be_lost() -> None:
    def repeats(url: str, **options: Any) -> int | None:
        return LiveOptions(url, "publish", local=True, **options).repeats

    assert [repeats("quic://a"), repeats("wss://a"), repeats("ws://a", redundancy=3)] == [
        2,
        None,
        3,
    ]
    assert repeats("quic://a", redundancy=0) is None and repeats("quic://a", fast=True) is None


def test_the_port_that_is_taken_is_named(
    tmp_path: Path, untrained: Codec, certificate: str
) -> None:
    async def scenario() -> None:
        async with serving(untrained, certificate) as server:
            port = int(address(server).rpartition(":")[2])
            settings = ServerSettings(port=0, tls_cert=certificate, quic_port=port)
            other = Server(settings, {untrained.name: untrained})
            with pytest.raises(OSError, match=f"port {port} \\(UDP\\)"):
                await other.start()

    run(scenario())
