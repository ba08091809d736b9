"""A relay between client and server that goes deaf, as a network does whose cable is pulled."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from benchmarks.attacks.wire import Target


class Relay:
    """Passes bytes on in both directions, at a port of its own.

    After :meth:`go_deaf` the connections it has stay open and carry nothing any more; new ones
    work.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._listening: asyncio.Server | None = None
        # A writer that nobody holds closes its connection.
        self._open: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        if self._listening is None:
            raise RuntimeError("the relay does not listen yet")
        return f"ws://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Relay:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        assert self._listening is not None
        self._listening.close()
        for task in self._pumps:
            task.cancel()
        for writer in self._open:
            writer.transport.abort()

    def go_deaf(self) -> None:
        """Drops what comes on the present connections, without closing them."""
        for task in self._pumps:
            task.cancel()
        self._pumps.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, onward = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        self._open += [writer, onward]
        for source, sink in ((reader, onward), (there, writer)):
            task = asyncio.ensure_future(_pump(source, sink))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
        sink.close()
