"""Messages over QUIC between two ends in one process, joined by ways that drop what they should."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from websockets.exceptions import ConnectionClosed

from streaming.server.tls import own_certificate
from streaming.wire.framing import CompactFraming
from streaming.wire.protocol import Clock, Codes, Noise
from streaming.wire.quic import (
    FRAME_SIZE,
    HIGH,
    LARGEST_DATAGRAM,
    MOST_PENDING,
    QuicSocket,
)

PATIENCE = 20.0
CLIENT, SERVER = ("192.0.2.1", 1), ("192.0.2.2", 2)
CODES = CompactFraming().to_server(Codes(0, 4, bytes(30)))
TOLD = CompactFraming().to_server(Noise(8))
Drop = Callable[[bytes], bool]


class Way(asyncio.DatagramTransport):
    """One direction: hands packets to the other end, but for those to be dropped."""

    def __init__(self, sender: tuple[str, int]) -> None:
        super().__init__()
        self.sender = sender
        self.receiver: QuicSocket | None = None
        self.drops: Drop = lambda data: False
        self.carried: list[bytes] = []

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.carried.append(data)
        if self.receiver is not None and not self.drops(data):
            asyncio.get_running_loop().call_soon(self.receiver.datagram_received, data, self.sender)

    def close(self) -> None:
        self.receiver = None


class Ends:
    """Both ends of a connection, and the ways between them."""

    def __init__(self, certificate: Path, *, datagrams: bool = True) -> None:
        size = FRAME_SIZE if datagrams else None
        options: dict[str, Any] = {"alpn_protocols": ["facodec.v2"]}
        ours = QuicConfiguration(
            is_client=True, server_name="localhost", max_datagram_frame_size=size, **options
        )
        ours.load_verify_locations(str(certificate))
        theirs = QuicConfiguration(is_client=False, max_datagram_frame_size=FRAME_SIZE, **options)
        theirs.load_cert_chain(certificate, certificate)
        client = QuicConnection(configuration=ours)
        self.client = QuicSocket(client, largest=100_000, first=100_000)
        first = client.original_destination_connection_id
        other = QuicConnection(configuration=theirs, original_destination_connection_id=first)
        self.server = QuicSocket(other, largest=2000, first=1000)
        self.up, self.down = Way(CLIENT), Way(SERVER)
        self.up.receiver, self.down.receiver = self.server, self.client
        self.client.connection_made(self.up)
        self.server.connection_made(self.down)

    async def meet(self) -> Ends:
        self.client.connect(SERVER)
        await self.client.wait_connected()
        return self

    def part(self) -> None:
        for each in (self.client, self.server):
            each.hang_up()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_certificate(tmp_path_factory.mktemp("quic"), ["localhost"])


def run(work: Awaitable[Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))  # type: ignore[arg-type]


def test_codes_go_in_datagrams_and_all_else_on_the_stream(certificate: Path) -> None:
    async def scenario() -> None:
        ends = await Ends(certificate).meet()
        client, server = ends.client, ends.server
        assert client.lossy and server.lossy and client.subprotocol == "facodec.v2"
        for message in (TOLD, CODES, CODES, TOLD * 400, CODES):
            client.send_now(message)
        await client.send(TOLD)
        got = [await server.recv() for _ in range(6)]
        assert sorted(got) == sorted([TOLD, TOLD, TOLD * 400, CODES, CODES, CODES])
        assert [message for message in got if message != CODES] == [TOLD, TOLD * 400, TOLD]
        server.send_now(CODES)
        assert await client.recv(decode=False) == CODES
        ends.part()

    run(scenario())


def test_a_lost_datagram_stays_lost_and_the_stream_is_sent_again(certificate: Path) -> None:
    async def scenario() -> None:
        ends = await Ends(certificate).meet()
        ends.up.drops = lambda data: True
        ends.client.send_now(CODES)
        ends.client.send_now(TOLD)
        await asyncio.sleep(0)  # it goes out
        await asyncio.sleep(0)
        assert ends.client.unacknowledged >= len(CODES) + len(TOLD) and ends.client.waiting == 0
        ends.up.drops = lambda data: False
        assert await ends.server.recv() == TOLD
        ends.client.send_now(TOLD * 2)
        assert await ends.server.recv() == TOLD * 2
        ends.part()

    run(scenario())


def test_probes_are_no_messages(certificate: Path) -> None:
    """Nothing that goes out while the path carries nothing makes a difference."""

    async def scenario() -> None:
        ends = await Ends(certificate).meet()
        ends.client.send_now(TOLD)
        assert await ends.server.recv() == TOLD
        while ends.client.unacknowledged:
            await asyncio.sleep(0)
        ends.up.drops = lambda data: True
        for message in (CODES, TOLD):
            ends.client.send_now(message)
        before, carried = ends.client.unacknowledged, len(ends.up.carried)
        assert before == len(CODES) + len(TOLD)
        quic = vars(ends.client)["_quic"]
        for number in range(3):
            quic.send_ping(1000 + number)
            ends.client.transmit()
            assert ends.client.unacknowledged == before
        assert len(ends.up.carried) > carried
        ends.up.drops = lambda data: False
        ends.client.send_now(CODES)
        assert await ends.server.recv() == CODES  # and no older one
        while ends.client.unacknowledged:
            await asyncio.sleep(0)
        ends.part()

    run(scenario())


def test_last_words_arrive_though_packets_are_lost(certificate: Path) -> None:
    async def scenario() -> None:
        ends = await Ends(certificate).meet()
        ends.client.send_now(TOLD)
        await ends.server.recv()
        lost: list[bytes] = []

        def first(data: bytes) -> bool:
            lost.append(data)
            return len(lost) <= 2

        ends.down.drops = first
        ends.server.send_now(TOLD * 3)
        closing = asyncio.ensure_future(ends.server.close(1001, "going"))
        assert await ends.client.recv() == TOLD * 3
        with pytest.raises(ConnectionClosed) as caught:
            await ends.client.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1001, "going")
        await closing
        with pytest.raises(ConnectionClosed):
            await ends.client.send(TOLD)
        assert ends.client.connection_lost_waiter.done()
        ends.part()

    run(scenario())


@pytest.mark.parametrize(("before", "size"), [(0, 1001), (1, 2001)])
def test_a_message_that_is_too_big_ends_the_connection(
    certificate: Path, before: int, size: int
) -> None:
    async def scenario() -> None:
        ends = await Ends(certificate).meet()
        for _ in range(before):
            ends.client.send_now(TOLD)
            await ends.server.recv()
        ends.client.send_now(b"\x80" * size)
        with pytest.raises(ConnectionClosed) as caught:
            await ends.client.recv()
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009
        assert f"got {size}" in caught.value.rcvd.reason
        ends.part()

    run(scenario())


def test_without_datagrams_nothing_is_lost(certificate: Path) -> None:
    async def scenario() -> None:
        ends = await Ends(certificate, datagrams=False).meet()
        assert not ends.client.lossy and not ends.server.lossy
        ends.up.drops = lambda data: True
        ends.client.send_now(CODES)
        await asyncio.sleep(0.05)
        ends.up.drops = lambda data: False
        assert await ends.server.recv() == CODES
        ends.part()

    run(scenario())


def test_what_the_path_does_not_take_is_bounded(certificate: Path) -> None:
    """The oldest codes give way; control waits, and who sends it too."""

    async def scenario() -> None:
        ends = await Ends(certificate).meet()
        ends.up.drops = lambda data: True
        for number in range(400):
            ends.client.send_now(
                bytes([4, number % 256, number // 256]) + bytes(LARGEST_DATAGRAM - 3)
            )
            await asyncio.sleep(0)
        window = 16 * FRAME_SIZE  # that may be on the way
        assert 0 < ends.client.unacknowledged <= MOST_PENDING * LARGEST_DATAGRAM + window
        ends.client.send_now(bytes(2 * HIGH))
        sending = asyncio.ensure_future(ends.client.send(TOLD))
        done, _ = await asyncio.wait({sending}, timeout=0.05)
        assert not done and ends.client.waiting > HIGH
        sending.cancel()
        ends.part()

    run(scenario())


def test_streams_that_nothing_is_made_of_end_the_connection(certificate: Path) -> None:
    async def scenario(mischief: Callable[[Any], None]) -> str:
        ends = await Ends(certificate).meet()
        mischief(vars(ends.client)["_quic"])
        ends.client.send_now(CODES)
        with pytest.raises(ConnectionClosed) as caught:
            await ends.client.recv()
        assert caught.value.rcvd is not None
        ends.part()
        return caught.value.rcvd.reason

    another = run(scenario(lambda quic: quic.send_stream_data(4, b"x")))
    assert another == "expected one stream, got another"


def test_datagrams_of_anything_but_codes_are_ignored(certificate: Path) -> None:
    async def scenario() -> None:
        ends = await Ends(certificate).meet()
        quic = vars(ends.client)["_quic"]
        for data in (b"", TOLD, CompactFraming().to_server(Clock(1.0))):
            quic.send_datagram_frame(data)
        ends.client.send_now(CODES)
        assert await ends.server.recv() == CODES
        ends.part()

    run(scenario())
