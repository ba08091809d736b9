"""A client that speaks the protocol and nothing else, and servers to try it on."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import soundfile
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.kit.browser import Browser, chromium
from facodec import bitstream
from facodec.config import HOP, SAMPLE_RATE
from streaming.server.process import run_on_best_loop
from streaming.wire import protocol
from streaming.wire.protocol import Audio, Codes, Done, Error, Hello, Ready, Voice
from tests.conftest import missing

ROOT = Path(__file__).parents[2]
SERVE = (
    "import argparse, sys; from streaming.server import listening as server, settings; "
    "parser = argparse.ArgumentParser(); settings.add_arguments(parser); "
    "sys.exit(server.run(settings.from_arguments(parser.parse_args())))"
)
T = TypeVar("T")
PATIENCE = 120.0
"""Seconds after which a test gives up waiting for something that should have happened."""


@dataclass
class Heard:
    """Everything one session got, and how it was closed."""

    messages: list[Any] = field(default_factory=list)
    close_code: int | None = None

    def all(self, kind: type[T]) -> list[T]:
        return [message for message in self.messages if isinstance(message, kind)]

    def one(self, kind: type[T]) -> T:
        (message,) = self.all(kind)
        return message

    @property
    def ready(self) -> Ready:
        return self.one(Ready)

    @property
    def done(self) -> Done:
        return self.one(Done)

    @property
    def error(self) -> Error:
        return self.one(Error)

    @property
    def voices(self) -> list[Voice]:
        return self.all(Voice)

    @property
    def samples(self) -> np.ndarray:
        """All sound, checked to be numbered without a gap."""
        parts = [np.frombuffer(message.data, "<f4") for message in self._in_order(Audio)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    @property
    def codes(self) -> np.ndarray:
        """All codes (K, n), checked to be numbered without a gap."""
        layers = self.ready.layers
        parts = [bitstream.unpack(m.data, layers, m.n) for m in self._in_order(Codes)]
        return np.concatenate(parts, axis=1)

    def _in_order(self, kind: type[T]) -> list[T]:
        messages = self.all(kind)
        following = None
        for message in messages:
            assert following in (None, message.seq)  # type: ignore[attr-defined]
            frames = message.n if isinstance(message, Codes) else len(message.data) // 4 // HOP  # type: ignore[attr-defined]
            following = message.seq + frames  # type: ignore[attr-defined]
        return messages


class RawClient:
    """One WebSocket, bytes up, messages down."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard = Heard()

    async def send(self, *messages: protocol.ClientMessage | bytes | str) -> None:
        for message in messages:
            raw = isinstance(message, (bytes, str))
            await self.socket.send(message if raw else protocol.encode(message))  # type: ignore[arg-type]

    async def settle(self) -> None:
        """Waits until the server has read all that was sent: it answers a clock in its turn."""
        await self.send(protocol.Clock(0.0))
        await self.until(protocol.Clock)

    async def next(self) -> protocol.ServerMessage:
        message = protocol.decode_server(await self.socket.recv())  # type: ignore[arg-type]
        self.heard.messages.append(message)
        return message

    async def until(self, kind: type[T]) -> T:
        while True:
            message = await self.next()
            if isinstance(message, kind):
                return message

    async def rest(self) -> Heard:
        """Everything until the server closes."""
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            self.heard.close_code = self.socket.close_code
            return self.heard

    async def __aiter__(self) -> AsyncIterator[protocol.ServerMessage]:
        while True:
            yield await self.next()


class Raw:
    """Helpers for raw sessions: ``raw.connect``, ``raw.session``, ``raw.run`` and packets of
    media."""

    @staticmethod
    def connect(url: str, **options: Any) -> connect:
        """A WebSocket with our subprotocol; wrap it in :meth:`client`."""
        options = {"subprotocols": ["facodec.v1"], "compression": None, **options}
        return connect(url, ping_interval=None, max_size=None, **options)

    client = RawClient

    @classmethod
    async def session(
        cls, url: str, hello: Hello, media: Iterable[protocol.ClientMessage | bytes] = ()
    ) -> Heard:
        """A whole session, sent as fast as the socket takes it and read meanwhile."""
        async with cls.connect(url) as socket:
            client = RawClient(socket)

            async def talk() -> None:
                # A server that closed has said why: that is read below.
                with suppress(ConnectionClosed):
                    await client.send(hello, *media, protocol.End())

            talking = asyncio.ensure_future(talk())
            heard = await client.rest()
            await talking
            return heard

    @staticmethod
    def audio(samples: np.ndarray, cut: int = HOP, stamped: bool = False) -> list[Audio]:
        """The samples in packets of ``cut``, stamped with the second they start at."""
        return [
            Audio(
                start // HOP,
                protocol.pcm_to_bytes(samples[start : start + cut], "f32"),
                t=start / 16_000 if stamped else None,
            )
            for start in range(0, len(samples), cut)
        ]

    @staticmethod
    def codes(codes: np.ndarray, cut: int = 1) -> list[Codes]:
        """Codes (K, n) in packets of ``cut`` frames."""
        parts = [(start, codes[:, start : start + cut]) for start in range(0, codes.shape[1], cut)]
        return [Codes(start, part.shape[1], bitstream.pack(part)) for start, part in parts]

    @staticmethod
    def run(work: Any) -> Any:
        """Runs a coroutine, for at most as long as anything may take here."""
        return run_on_best_loop(asyncio.wait_for(work, PATIENCE))


@pytest.fixture(scope="session")
def raw() -> type[Raw]:
    return Raw


class Process:
    """A server in a process of its own."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, "--port", "0", "--log-level", "warning", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        found = re.search(r"wss?://\S+", self.first_line)
        if found is None:
            raise AssertionError(f"no URL in {self.first_line!r}: {self.process.communicate()[1]}")
        self.url = found[0]

    def finish(self) -> tuple[int, str, str]:
        """Waits for its end: exit status, the rest of its output, its errors."""
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, errors


@pytest.fixture(scope="session")
def server_process() -> Callable[..., Any]:
    """``with server_process(*options) as process``; killed at the end if it is still there."""

    @contextmanager
    def start(*options: str) -> Iterator[Process]:
        server = Process(*options)
        try:
            yield server
        finally:
            server.process.kill()
            server.process.communicate()

    return start


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, hello: np.ndarray) -> Iterator[Browser]:
    """A browser whose microphone hears a sentence over and over."""
    folder = tmp_path_factory.mktemp("browser")
    soundfile.write(folder / "microphone.wav", hello, SAMPLE_RATE, subtype="PCM_16")
    try:
        with chromium(folder, folder / "microphone.wav") as started:
            yield started
    except FileNotFoundError:
        missing("chromium")
