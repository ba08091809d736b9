"""The WebSocket server: HTTP before the upgrade, connections, signals, shutdown."""

from __future__ import annotations

import asyncio
import gc
import http
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from facodec.codec import Codec
from facodec.config import SAMPLE_RATE
from streaming.peer import Peer
from streaming.protocol import SUBPROTOCOL
from streaming.runtime import Runtime, load_codecs, prepare_process
from streaming.settings import ServerSettings

log = logging.getLogger(__name__)

RETRY_AFTER = 5
"""Seconds a refused client is asked to stay away."""
CHECK_INTERVAL = 0.5
"""Seconds between two looks at the clients' timeouts."""
CUT_GRACE = 2.5
"""Seconds connections have to close after the drain, before the process goes without them."""
FLOOD = 8
"""A message this many times the limit ends the connection while it arrives, with a bare 1009;
below, the session ends with an error event that says why."""


class Server:
    """One listening socket, its peers and what they share.

    ``async with Server(settings, codecs) as server: ... server.url``; leaving drains.
    ``clock``: monotonic seconds.
    """

    def __init__(
        self,
        settings: ServerSettings,
        codecs: dict[str, Codec],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings = settings
        self.runtime = Runtime(settings, codecs, clock)
        self._peers: dict[Peer, asyncio.Task[Any] | None] = {}
        self._listening: WebSocketServer | None = None
        self._checker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where clients connect to, with the port that was really taken."""
        if self._listening is None:
            raise RuntimeError("the server does not listen yet")
        port = next(iter(self._listening.sockets)).getsockname()[1]
        host = self.settings.host
        return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"

    @property
    def sessions(self) -> int:
        return len(self._peers)

    @property
    def capacity(self) -> int:
        """Sessions at once: as set, or as measured when the server started."""
        return self.settings.max_sessions or self.runtime.capacity()

    async def start(self) -> None:
        """Measures the models, which warms them up, and listens. Raises OSError where the
        address cannot be had."""
        await asyncio.get_running_loop().run_in_executor(None, self.runtime.warm_up)
        # A client that breaks off its handshake is not worth a traceback in the server's log.
        quiet = logging.getLogger(f"{__name__}.handshakes")
        quiet.setLevel(logging.CRITICAL)
        self._listening = await serve(
            self._on_connection,
            self.settings.host,
            self.settings.port,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            process_request=self._on_request,
            server_header=None,
            # Codes do not compress, and deflate costs time and memory.
            compression=None,
            max_size=self.settings.max_message * FLOOD,
            # A client may send faster than the model runs; its pongs then wait in line behind its
            # media, which says nothing about its health. Our own timeouts watch over clients.
            ping_timeout=None,
            close_timeout=2.0,
            logger=quiet,
        )
        self.runtime.start()
        self._checker = asyncio.ensure_future(self._check_peers())

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Stops accepting, finishes the sessions within the drain time, closes them with 1001.
        ``hurry``: cuts the drain short when set."""
        self.runtime.draining = True
        if self._listening is not None:
            self._listening.close(close_connections=False)
        for peer in list(self._peers):
            peer.shut_down()
        await self._peers_gone(self.settings.drain, hurry)
        for peer in list(self._peers):
            peer.cut()
        await self._peers_gone(CUT_GRACE, None)
        if self._checker is not None:
            self._checker.cancel()
        self.runtime.engine.stop(timeout=0.0 if hurry is not None and hurry.is_set() else 5.0)

    async def _peers_gone(self, patience: float, hurry: asyncio.Event | None) -> None:
        """Waits for all connections to end, for the patience to end, or for ``hurry``."""
        tasks = [task for task in self._peers.values() if task is not None]
        if not tasks:
            return
        waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(asyncio.wait(tasks))}
        if hurry is not None:
            waits.add(asyncio.ensure_future(hurry.wait()))
        await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _check_peers(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            for peer in list(self._peers):
                peer.check(self.runtime.clock())

    # -------------------------------------------------------------------------------- connections

    async def _on_connection(self, socket: ServerConnection) -> None:
        trusted = bool(self.settings.tokens) and _token(socket.request) is not None
        peer = Peer(socket, self.runtime, trusted)
        self._peers[peer] = asyncio.current_task()
        try:
            if len(self._peers) > self.capacity:
                peer.refuse("overloaded", "all sessions are taken")
            if self.runtime.draining:
                peer.shut_down()
            await peer.run()
        finally:
            del self._peers[peer]

    def _on_request(self, socket: ServerConnection, request: Request) -> Response | None:
        """Answers plain HTTP and refuses what need not become a WebSocket."""
        path = urlsplit(request.path).path
        if path == "/healthz":
            status = 503 if self.runtime.draining else 200
            return _response(status, json.dumps(self.health()), "application/json")
        if path == "/metrics":
            return _response(200, self._prometheus(), "text/plain; version=0.0.4")
        token = _token(request)
        if token is not None and not self.runtime.admits(token):
            return self._refuse(401, "the token does not fit", {"WWW-Authenticate": "Bearer"})
        offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
        if SUBPROTOCOL not in (name.strip() for name in offered):
            upgrade = {"Upgrade": "websocket", "Sec-WebSocket-Protocol": SUBPROTOCOL}
            return self._refuse(426, f"speak WebSocket with subprotocol {SUBPROTOCOL}", upgrade)
        if self.runtime.draining or self.sessions >= self.capacity:
            return self._refuse(503, "all sessions are taken", {"Retry-After": str(RETRY_AFTER)})
        return None

    def _refuse(self, status: int, sentence: str, headers: dict[str, str]) -> Response:
        self.runtime.metrics.refused[str(status)] += 1
        return _response(status, sentence + "\n", "text/plain", headers)

    # ------------------------------------------------------------------------------------- health

    def health(self) -> dict[str, Any]:
        """What /healthz answers."""
        runtime = self.runtime
        return {
            "status": "draining" if runtime.draining else "ok",
            "models": list(runtime.codecs),
            "voices": runtime.voice_names,
            "sessions": self.sessions,
            "capacity": self.capacity,
            "load": round(runtime.engine.load, 4),
            "measured": {name: one.to_json() for name, one in runtime.measured.items()},
            "memory": runtime.memory(),
            "rooms": len(runtime.rooms),
            "streams": runtime.engine.streams,
            "backlog_frames": round(runtime.engine.backlog, 3),
            "uptime_s": round(runtime.clock() - runtime.started, 3),
            "metrics": runtime.metrics.to_json(),
        }

    def _prometheus(self) -> str:
        runtime = self.runtime
        gauges = {
            "sessions": self.sessions,
            "capacity": self.capacity,
            "load": runtime.engine.load,
            **runtime.memory(),
            "rooms": len(runtime.rooms),
            "streams": runtime.engine.streams,
            "backlog_frames": runtime.engine.backlog,
            "uptime_seconds": runtime.clock() - runtime.started,
        }
        return runtime.metrics.to_prometheus(gauges)


def run(settings: ServerSettings) -> int:
    """Serves until SIGTERM or Ctrl-C (or the end of stdin, if so set), then drains; a second one
    ends it at once. Prints one line with the URL when ready. Returns the exit status: 0, or 1 when
    it could not start."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    prepare_process(settings.threads)
    try:
        check_port(settings.host, settings.port)
        codecs = load_codecs(settings)
        return _run_on_best_loop(_serve(settings, codecs))
    except (OSError, ValueError) as error:
        print(f"facodec serve: {error}", file=sys.stderr)
        return 1


def check_port(host: str, port: int) -> None:
    """Before the work of loading models: the address must be there and free. Raises OSError."""
    if not port:
        return
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
                probe.listen(1)
            except OSError as error:
                raise OSError(
                    f"cannot listen at {host} port {port}: {error.strerror}; "
                    "choose another with --port or --host"
                ) from error


async def _serve(settings: ServerSettings, codecs: dict[str, Codec]) -> int:
    told, told_twice = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (told_twice if told.is_set() else told).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    if settings.until_eof:
        loop.add_reader(sys.stdin.fileno(), _on_input, told)
    server = Server(settings, codecs)
    await server.start()
    # What is there now stays; to look through it for garbage holds every session up for 70 ms.
    gc.collect()
    gc.freeze()
    print(_ready_line(server), flush=True)
    await told.wait()
    print(f"finishing {server.sessions} sessions; once more to leave at once", flush=True)
    await server.stop(told_twice)
    return 0


def _on_input(told: asyncio.Event) -> None:
    """Whatever comes in is ignored; its end means that whoever started the server is gone."""
    if os.read(sys.stdin.fileno(), 4096):
        return
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    with open(os.devnull, "w") as nowhere:  # nor does anybody read what we print
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    told.set()


def _ready_line(server: Server) -> str:
    delays = ", ".join(
        f"{name} ({codec.backend}, {codec.latency.total / SAMPLE_RATE * 1000:.1f} ms algorithmic "
        "latency)"
        for name, codec in server.runtime.codecs.items()
    )
    return f"serving at {server.url} model {delays}, {server.capacity} sessions"


def _run_on_best_loop(work: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:
        log.warning("uvloop is not installed: running on the slower stock event loop")
        return asyncio.run(work)
    return uvloop.run(work)


def _token(request: Request | None) -> str | None:
    """The token in the header or the query of a request, None where there is none."""
    if request is None:
        return None
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    given = parse_qs(urlsplit(request.path).query).get("token")
    return given[0] if given else None


def _response(status: int, body: str, kind: str, extra: dict[str, str] | None = None) -> Response:
    data = body.encode()
    headers = Headers(
        {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(data)),
            "Connection": "close",
            **(extra or {}),
        }
    )
    return Response(status, http.HTTPStatus(status).phrase, headers, data)
