"""A TCP relay to a server, whose connections can be cut, go deaf, or be slow."""

from __future__ import annotations

import asyncio
import socket as sockets
from contextlib import suppress

PIECE, SMALL = 65536, 8192


class Relay:
    """Passes bytes on, at a port of its own: ``async with Relay(server.url) as relay``.

    ``rate``: bytes a second from the server to each client, None for all there are. ``cut_after``:
    bytes from clients, and from the server, after which all connections are cut, once each.
    """

    def __init__(
        self,
        url: str,
        *,
        rate: float | None = None,
        cut_after: tuple[tuple[int, ...], tuple[int, ...]] = ((), ()),
    ) -> None:
        host, port = url.removeprefix("ws://").split(":")
        self._target = host, int(port)
        self._rate = rate
        self._cuts = [list(each) for each in cut_after]
        self._passed = [0, 0]
        self._generation = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.refuses = False
        """Whether new connections are cut off at once."""

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()

    def go_deaf(self) -> None:
        """The connections that there are stay open and carry nothing any more, as after a cable
        was pulled; new ones work."""
        self._generation += 1

    def cut(self) -> None:
        """Breaks the connections that there are; what is on the way is lost."""
        self._generation += 1
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuses:
            writer.transport.abort()
            return
        far = sockets.create_connection(self._target)
        if self._rate is not None:  # what a slow link has not carried yet is the server's to keep
            far.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, SMALL)
        far_reader, far_writer = await asyncio.open_connection(sock=far, limit=SMALL)
        self._writers += [writer, far_writer]
        for way, source, sink in ((0, reader, far_writer), (1, far_reader, writer)):
            task = asyncio.ensure_future(self._pump(way, source, sink, self._generation))
            self._tasks.add(task)

    async def _pump(
        self, way: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter, mine: int
    ) -> None:
        rate = self._rate if way == 1 else None
        piece = PIECE if rate is None else max(1, int(rate / 20))
        with suppress(OSError):
            while data := await source.read(piece):
                if mine != self._generation:
                    continue
                self._passed[way] += len(data)
                if self._cuts[way] and self._passed[way] >= self._cuts[way][0]:
                    self._cuts[way].pop(0)
                    self.cut()
                    return
                sink.write(data)
                await sink.drain()
                if rate is not None:
                    await asyncio.sleep(len(data) / rate)
            if mine == self._generation:
                sink.close()
