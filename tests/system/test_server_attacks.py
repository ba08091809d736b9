"""Clients that mean harm, or are gone: what each may hold is bounded, and so is for how long."""

from __future__ import annotations

import asyncio
import socket as sockets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.frames import Frame, Opcode

from facodec import bitstream
from facodec.codec import Codec
from streaming.server import connections, pace
from streaming.server import socket as wire
from streaming.server.listening import Server
from streaming.server.peer import Peer
from streaming.server.settings import ServerSettings
from streaming.wire import protocol
from streaming.wire.protocol import Audio, Clock, Codes, Done, Error, Hello, Ready

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: facodec.v1\r\n\r\n"
)


class Attacker:
    """A TCP connection past its upgrade, that sends what bytes it likes."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("ws://").split(":")
        self._address = host, int(port)
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Attacker:
        self.socket = sockets.socket()
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        await self._loop.sock_connect(self.socket, self._address)
        await self.send(UPGRADE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self._loop.sock_recv(self.socket, 1)
        assert b" 101 " in head
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.socket, data)

    async def say(self, *messages: protocol.ClientMessage) -> None:
        for message in messages:
            await self.send(frame(protocol.encode(message)))

    async def read_all(self) -> bytes:
        """Reads until the server hangs up."""
        data = b""
        # A reset is the answer to what was still sent after the server had closed.
        with suppress(ConnectionResetError):
            while part := await self._loop.sock_recv(self.socket, 65536):
                data += part
        return data


def frame(data: bytes, opcode: Opcode = Opcode.BINARY, last: bool = True) -> bytes:
    return Frame(opcode, data, last).serialize(mask=True)


def peers(server: Server) -> list[Peer]:
    return list(server._peers)


def only_wire(server: Server) -> wire.ServerSocket:
    (peer,) = peers(server)
    assert peer._link is not None
    return peer._link.socket


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def serving(codec: Codec, **settings: Any) -> Server:
    return Server(ServerSettings(**{"port": 0, "max_sessions": 64, **settings}), {"live": codec})


@asynccontextmanager
async def three_clients(raw: Any, server: Server) -> AsyncIterator[list[Any]]:
    """Clients of a server that starts now."""
    async with server, AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(raw.connect(server.url)) for _ in range(3)]
        yield [raw.client(each) for each in sockets]


async def open_room(publisher: Any, *listeners: Any) -> Ready:
    """A room of codes with its listeners -> what the publisher was told."""
    await publisher.send(Hello("publish", "codes", room="a"))
    ready: Ready = await publisher.until(Ready)
    for listener in listeners:
        await listener.send(Hello("subscribe", output="codes", room="a"))
        await listener.until(Ready)
    return ready


# ------------------------------------------------------------------------------------------ places


def test_waiting_listeners_keep_no_publisher_out_of_his_room(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with serving(untrained, max_sessions=1, max_rooms=1, max_subscribers=64) as server:

            async def listen() -> Any:
                return await raw.session(server.url, Hello("subscribe", output="codes", room="a"))

            listeners = []
            for _ in range(64):
                socket = await raw.connect(server.url)
                client = raw.client(socket)
                await client.send(Hello("subscribe", output="codes", room="a"))
                await client.settle()
                listeners.append(client)
            assert (await listen()).error.code == "room-full"
            elsewhere = await raw.session(server.url, Hello("subscribe", room="b"))
            assert elsewhere.error.code == "too-many-rooms"
            heard = await raw.session(server.url, Hello("publish", room="a"))
            assert heard.close_code == 1000
            for client in listeners:
                assert (await client.rest()).done.reason == "publisher-left"

    raw.run(scenario())


def test_who_says_nothing_gives_way_to_who_does(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with serving(untrained, max_unknown=4, tokens=("right",)) as server:
            bearer = {"additional_headers": {"Authorization": "Bearer right"}}
            owner = await raw.connect(server.url, **bearer)
            squatters = [await raw.connect(server.url) for _ in range(12)]
            evicted = [await raw.client(socket).rest() for socket in squatters[:9]]
            assert {(heard.error.code, heard.close_code) for heard in evicted} == {
                ("overloaded", 1013)
            }
            client = raw.client(owner)
            await client.send(Hello("encode"))
            await client.until(Ready)
            assert (server.runtime.occupancy.unknown, server.runtime.occupancy.computing) == (3, 1)
            for socket in (owner, *squatters):
                await socket.close()

    raw.run(scenario())


def test_nothing_prolongs_the_deadline_of_hello(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with (
            serving(untrained, hello_timeout=0.2) as server,
            Attacker(server.url) as attacker,
        ):
            reading = asyncio.ensure_future(attacker.read_all())
            with suppress(ConnectionError):
                while not reading.done():
                    await attacker.send(frame(b"", Opcode.PING))
                    await asyncio.sleep(0.02)
            await reading
            assert b"hello-timeout" in reading.result()

    raw.run(scenario())


# -------------------------------------------------------------------------------------- the memory


def test_answers_to_pings_that_nobody_reads_stay_within_their_bound(
    raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "EXTRAS_RATE", 1e9)  # the other bound on pings
    ping = frame(bytes(125), Opcode.PING)

    async def scenario() -> None:
        async with serving(untrained, hello_timeout=1e9) as server:
            async with Attacker(server.url) as attacker:
                sending = asyncio.ensure_future(attacker.send(ping * 100_000))
                line, most = only_wire(server), 0
                await until(lambda: line.waiting > wire.WRITE_MOST)
                for _ in range(200):
                    most = max(most, line.waiting)
                    await asyncio.sleep(0)
                assert not sending.done()
                assert most <= wire.WRITE_MOST + 2 * wire.SLICE
                received = line.received
                await asyncio.sleep(0.05)
                assert line.received == received, "it is not read any more"
                sending.cancel()
            await until(lambda: not server.sessions)

    raw.run(scenario())


def test_pings_have_a_rate(raw: Any, untrained: Codec) -> None:
    """Counted up to the first pause: what is left in the system's buffers is not taken apart."""
    ping = frame(b"", Opcode.PING)

    async def scenario() -> None:
        async with serving(untrained) as server, Attacker(server.url) as attacker:
            line = only_wire(server)
            await attacker.send(ping * 20_000)
            await until(lambda: "extras" in line._holds)
            assert line._allowance.owe(0) <= (wire.SLICE / len(ping) + 1) / wire.EXTRAS_RATE

    raw.run(scenario())


def test_a_message_comes_in_a_few_pieces(raw: Any, untrained: Codec) -> None:
    async def scenario() -> bytes:
        async with serving(untrained) as server, Attacker(server.url) as attacker:
            await attacker.send(frame(b"", last=False) + frame(b"", Opcode.CONT, False) * 1000)
            return await attacker.read_all()

    assert b"at most 64 frames" in raw.run(scenario())


def test_strangers_have_no_long_messages(raw: Any, untrained: Codec) -> None:
    async def scenario() -> None:
        async with serving(untrained) as server:
            async with Attacker(server.url) as stranger:
                await stranger.send(frame(bytes(17 * 1024))[:4096])
                assert (1009).to_bytes(2, "big") in await stranger.read_all()
            async with raw.connect(server.url) as socket:
                client = raw.client(socket)
                # In one go, before the server has answered.
                await client.send(Hello("encode"), *raw.audio(np.zeros(16_000, np.float32), 16_000))
                await client.send(protocol.End())
                assert (await client.rest()).done.frames_out == 80

    raw.run(scenario())


def test_who_asks_for_nothing_gives_way(
    raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_ARRIVING", 8)

    async def scenario() -> None:
        async with serving(untrained) as server:
            host, port = server.url.removeprefix("ws://").split(":")
            silent = [await asyncio.open_connection(host, int(port)) for _ in range(12)]
            gone = await asyncio.gather(*(reader.read() for reader, _ in silent[:4]))
            assert gone == [b""] * 4
            heard = await raw.session(server.url, Hello("encode"))
            assert heard.close_code == 1000
            for _, writer in silent:
                writer.close()

    raw.run(scenario())


def test_many_from_elsewhere_drive_nobody_out(
    raw: Any, untrained: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_ARRIVING", 8)

    async def scenario() -> None:
        async with serving(untrained) as server:
            host, port = server.url.removeprefix("ws://").split(":")
            reader, owner = await asyncio.open_connection(host, int(port))
            silent = [
                await asyncio.open_connection(host, int(port), local_addr=(f"127.0.0.{n}", 0))
                for n in (2, 3)
                for _ in range(6)
            ]
            assert await silent[0][0].read() == b""
            owner.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in await reader.readline()
            for _, writer in (*silent, (reader, owner)):
                writer.close()

    raw.run(scenario())


def test_what_waits_to_be_read_by_a_session_is_bounded(raw: Any, untrained: Codec) -> None:
    """A session that reads nothing, as its outbox is full, and a sender that never stops."""

    async def scenario() -> None:
        async with serving(untrained, outbox=0.01) as server, Attacker(server.url) as attacker:
            line = only_wire(server)
            await attacker.say(Hello("loopback", "codes"))
            sending = asyncio.ensure_future(attacker.send(frame(bytes(100_000)) * 400))
            await asyncio.sleep(0)
            for _ in range(400):
                assert len(line.recv_messages.frames) <= wire.MAX_QUEUE[0] + 1
                assert len(line._unread) <= 256 * 1024
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait({sending})

    raw.run(scenario())


# ---------------------------------------------------------------------------------------- the loop


@pytest.mark.parametrize("message", [Clock(0.0), Audio(0, b"")], ids=["clock", "empty audio"])
def test_tiny_messages_leave_the_loop_to_others(
    raw: Any, untrained: Codec, message: protocol.ClientMessage
) -> None:
    """Counts what one session is given of the loop between two turns of another task."""
    count = 3000

    async def scenario() -> None:
        async with serving(untrained) as server, Attacker(server.url) as attacker:
            await attacker.say(Hello("encode"))
            (peer,) = peers(server)
            reading = asyncio.ensure_future(attacker.read_all())
            tiny = frame(protocol.encode(message))
            sending = asyncio.ensure_future(attacker.send(tiny * count))
            totals, most, before = peer._session.totals, 0, 0
            size = len(protocol.encode(message))
            while before < count * size:
                most = max(most, totals.bytes_in - before)
                before = totals.bytes_in
                await asyncio.sleep(0)
            assert most <= (pace.IN_A_ROW + 1) * size + 100
            await sending
            reading.cancel()

    raw.run(scenario())


def test_a_long_list_is_not_even_decoded(raw: Any, untrained: Codec) -> None:
    message = msgpack.packb({"type": "clock", "t0": 0.0, "more": [1] * 120_000})

    async def scenario() -> Any:
        async with serving(untrained) as server:
            return await raw.session(server.url, Hello("encode"), [message])

    assert raw.run(scenario()).error.code == "bad-message"


# ---------------------------------------------------------------------------------- who is no more


@pytest.mark.parametrize("reads", [False, True])
def test_who_hangs_up_while_it_is_not_read_is_seen(raw: Any, untrained: Codec, reads: bool) -> None:
    """The model does nothing here, so what was sent waits for ever, and the hang-up behind it.
    Where the client has left nothing unread its system sends no reset by itself either."""

    async def scenario() -> None:
        async with serving(untrained, idle_timeout=1e9, ping_timeout=1e9) as server:
            server.runtime.engine.stop()
            async with Attacker(server.url) as attacker:
                await attacker.say(Hello("encode"))
                reading = asyncio.ensure_future(attacker.read_all()) if reads else None
                flood = raw.audio(np.zeros(3_200_000, np.float32), 16_000)
                sending = asyncio.ensure_future(attacker.say(*flood))
                await until(lambda: server.runtime.metrics.paused)
                assert server.runtime.engine.backlog > 0 and not sending.done()
                for task in filter(None, (sending, reading)):
                    task.cancel()
                    await asyncio.wait({task})
            await until(lambda: not server.sessions)
            assert (server.runtime.engine.streams, server.runtime.engine.backlog) == (0, 0)

    raw.run(scenario())


def test_a_publisher_gone_deaf_is_found_out_and_its_room_is_free(
    raw: Any, untrained: Codec
) -> None:
    settings = ServerSettings(port=0, max_sessions=64, idle_timeout=1e9, ping_timeout=8.0)

    async def scenario() -> None:
        server = Server(settings, {"live": untrained}, clock=lambda: time.perf_counter() * 8)
        async with server, Attacker(server.url) as ghost, raw.connect(server.url) as ear:
            await ghost.say(Hello("publish", room="a"))
            listener = raw.client(ear)
            await listener.send(Hello("subscribe", room="a"))
            assert (await listener.rest()).done.reason == "publisher-left"
            assert (await raw.session(server.url, Hello("publish", room="a"))).close_code == 1000

    raw.run(scenario())


def test_a_listener_that_reads_nothing_is_told_so_and_dropped(raw: Any, untrained: Codec) -> None:
    """No media at all is on the way: what it does not take are pings."""
    settings = ServerSettings(port=0, max_sessions=64, idle_timeout=1e9, outbox=8.0)

    async def scenario() -> bytes:
        server = Server(settings, {"live": untrained}, clock=lambda: time.perf_counter() * 8)
        async with (
            server,
            raw.connect(server.url) as up,
            raw.connect(server.url) as good,
            Attacker(server.url) as deaf,
        ):
            publisher, attentive = raw.client(up), raw.client(good)
            await publisher.send(Hello("publish", room="a"))
            await deaf.say(Hello("subscribe", room="a"))
            await attentive.send(Hello("subscribe", room="a"))
            await until(lambda: server.runtime.metrics.errors["too-slow"])
            told = await deaf.read_all()
            await publisher.send(protocol.End())
            assert (await attentive.rest()).done.reason == "publisher-left"
            assert server.runtime.metrics.errors == {"too-slow": 1}
            return told

    assert b"too-slow" in raw.run(scenario())


def test_a_publisher_takes_its_room_back_from_its_ghost(raw: Any, live: Codec) -> None:
    codes = live.encode(np.zeros(8000, np.float32)).codes
    first, second = codes[:, :20], codes[:, 20:40]

    async def scenario() -> None:
        async with (
            # The only place for a publisher there is, and the only one of his address.
            serving(live, max_rooms=1, address_publishers=1) as server,
            raw.connect(server.url) as one,
            raw.connect(server.url) as two,
            raw.connect(server.url) as three,
            raw.connect(server.url) as four,
        ):
            ghost, listener, thief, back = map(raw.client, (one, two, three, four))
            await ghost.send(Hello("publish", "codes", room="a"))
            ready = await ghost.until(Ready)
            await listener.send(Hello("subscribe", output="codes", room="a"))
            assert (await listener.until(Ready)).resume is None
            await ghost.send(*raw.codes(first))
            while (await listener.until(Codes)).seq < 19:
                pass
            await thief.send(Hello("publish", "codes", room="a", resume="guess"))
            assert (await thief.until(Error)).code == "too-many-sessions"
            await back.send(Hello("publish", "codes", room="a", resume=ready.resume))
            assert (await back.until(Ready)).resume == ready.resume
            heard = await ghost.rest()
            assert (heard.done.reason, heard.close_code) == ("replaced", 1000)
            await back.send(*raw.codes(second), protocol.End())
            assert (await back.until(Done)).reason == "end"
            heard = await listener.rest()
            assert np.array_equal(heard.codes, codes[:, :40])
            assert heard.done.reason == "publisher-left"

    raw.run(scenario())


def test_who_comes_back_otherwise_than_before_opens_the_room_anew(
    raw: Any, untrained: Codec
) -> None:
    async def scenario() -> None:
        async with three_clients(raw, serving(untrained)) as (ghost, listener, back):
            ready = await open_room(ghost, listener)
            await back.send(Hello("publish", "codes", room="a", layers=3, resume=ready.resume))
            assert (await back.until(Ready)).resume != ready.resume
            assert (await listener.rest()).done.reason == "publisher-left"
            assert (await ghost.rest()).done.reason == "replaced"

    raw.run(scenario())


def test_a_hasty_publisher_is_paced_and_nothing_of_it_is_lost(
    raw: Any, live: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = live.encode(np.zeros(200 * 120, np.float32)).codes[:, :120]
    costs: list[float] = []

    async def scenario() -> None:
        server = serving(live)
        async with three_clients(raw, server) as (publisher, *listeners):

            async def take(cost: float) -> None:
                costs.append(cost)
                if len(costs) > 20:
                    await asyncio.sleep(3600)  # nothing is left in the pool

            monkeypatch.setattr(server.runtime.pool, "take", take)
            monkeypatch.setattr(pace, "FAN_TURN", 4)
            await open_room(publisher, *listeners)
            await publisher.send(Codes(0, 80, bitstream.pack(codes[:, :80])))
            while len(costs) <= 20:
                await asyncio.sleep(0.002)
            stopping = asyncio.ensure_future(server.stop())
            for listener in listeners:
                heard = await listener.rest()
                assert np.array_equal(heard.codes, codes[:, :80])
                assert heard.done.reason == "shutdown"
            assert set(costs) == {2 * 2.0}
            assert (await publisher.rest()).done.frames_in == 80
            await stopping

    raw.run(scenario())
