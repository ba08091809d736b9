"""The WebSocket server: HTTP before the upgrade, connections, startup, shutdown."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from facodec.codec import Codec
from facodec.config import SAMPLE_RATE
from facodec.reasons import named_why
from streaming.server import journal, logs
from streaming.server.connections import (
    CLOSE_TIMEOUT,
    Arrivals,
    Connection,
    accept,
)
from streaming.server.gate import Gate, Visitor
from streaming.server.handouts import VOICES, hand_out_model, hand_out_voice
from streaming.server.health import health_of, prometheus_of, status_of
from streaming.server.http import BARE, Asked, Refusal, read_request, respond
from streaming.server.lifetime import Lifetime
from streaming.server.model_image import ModelImage
from streaming.server.output import Output
from streaming.server.page import Page
from streaming.server.peer import Peer
from streaming.server.process import (
    bound_malloc,
    check_port,
    ending_signals,
    raise_descriptors,
    run_on_best_loop,
    watch_input,
)
from streaming.server.runtime import Runtime, check_files, load_codecs, prepare_process
from streaming.server.settings import ServerSettings
from streaming.server.socket import MAX_QUEUE
from streaming.server.tls import server_context
from streaming.wire.protocol import VERSIONS

if TYPE_CHECKING:
    from streaming.server.quic import QuicDoor, QuicPeerSocket

log = logging.getLogger(__name__)

RETRY_AFTER = 5
"""Seconds a refused client is asked to stay away."""
CHECK_INTERVAL = 0.5
"""Seconds between two looks at the clients' timeouts."""
CUT_GRACE = 2.5
"""Seconds connections have to close after the drain, before the process goes without them."""
FLOOD = 2
"""A message this many times the limit ends the connection while it arrives, with a bare 1009;
below, the session ends with an error event that says why."""


class Server:
    """One listening socket, its peers and what they share.

    ``async with Server(settings, codecs) as server: ... server.url``; leaving drains.
    ``clock``: monotonic seconds. Raises OSError or ValueError for a token file, a certificate or
    the folder of a page that cannot be used.
    """

    def __init__(
        self,
        settings: ServerSettings,
        codecs: dict[str, Codec],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings = settings
        self.runtime = Runtime(settings, codecs, clock)
        self._gate = Gate(settings, clock, lambda: self.capacity)
        self._tls = None if settings.tls_cert is None else server_context(settings)
        self._page = None if settings.page is None else Page(settings.page)
        self._image = None if self._page is None else ModelImage.of_first(codecs)
        self._peers: dict[Lifetime, asyncio.Task[Any] | None] = {}
        self._listening: WebSocketServer | None = None
        self._quic: QuicDoor | None = None
        self._checker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Address that clients connect to, with the port that was really taken."""
        if self._listening is None:
            raise RuntimeError("the server does not listen yet")
        port = next(iter(self._listening.sockets)).getsockname()[1]
        scheme = "ws" if self._tls is None else "wss"
        host = self.settings.host or "localhost"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @property
    def page_url(self) -> str | None:
        """Address of the page for a browser on this machine; None where there is none."""
        if self._page is None:
            return None
        url = self.url.replace("ws", "http", 1)
        for anywhere in ("//0.0.0.0:", "//[::]:"):
            url = url.replace(anywhere, "//localhost:")
        return f"{url}/"

    @property
    def quic_url(self) -> str | None:
        """Address that clients connect to over QUIC; None where that is not served."""
        if self._quic is None:
            return None
        return f"quic:{self.url.partition(':')[2].rpartition(':')[0]}:{self._quic.port}"

    @property
    def sessions(self) -> int:
        return len(self._peers)

    @property
    def capacity(self) -> int:
        """Sessions at once that compute: as set, or as measured when the server started."""
        return self.runtime.places()

    async def start(self) -> None:
        """Measures the models, which warms them up, and listens. Raises OSError where the
        address cannot be had."""
        await asyncio.get_running_loop().run_in_executor(None, self.runtime.warm_up)
        # A client that breaks off its handshake is not worth a traceback in the server's log.
        quiet = logging.getLogger(f"{__name__}.handshakes")
        quiet.setLevel(logging.CRITICAL)
        arrivals = Arrivals(self._gate, asyncio.get_running_loop())
        self._listening = await serve(
            self._on_connection,  # type: ignore[arg-type]
            self.settings.host,
            self.settings.port,
            create_connection=partial(  # type: ignore[arg-type]
                accept,
                tls=self._tls,
                arrivals=arrivals,
                on_refusal=self._on_refusal,
                max_size=self.settings.max_message * FLOOD,
            ),
            subprotocols=[Subprotocol(name) for name in VERSIONS],
            process_request=self._on_request,  # type: ignore[arg-type]
            server_header=None,
            max_queue=MAX_QUEUE,
            # Codes do not compress, and deflate costs time and memory.
            compression=None,
            # A client may send faster than the model runs; its pongs then wait in line behind its
            # media, which says nothing about its health. Each peer sends pings of its own.
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT,
            logger=quiet,
        )
        if self.settings.quic_port is not None:
            from streaming.server.quic import QuicDoor

            self._quic = QuicDoor(arrivals, self._refuse, self._on_connection, self._on_refusal)
            try:
                await self._quic.open(self.settings, self.settings.max_message * FLOOD)
            except (OSError, ValueError):
                self._listening.close()
                raise
        self.runtime.start()
        self._checker = asyncio.ensure_future(self._check_peers())

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Stops accepting, finishes the sessions within the drain time, closes them with 1001.
        ``hurry``: cuts the drain short when set."""
        self.runtime.draining = True
        if self._listening is not None:
            self._listening.close(close_connections=False)
        self.runtime.parking.close()
        for peer in list(self._peers):
            peer.shut_down()
        await self._peers_gone(self.settings.drain, hurry)
        for peer in list(self._peers):
            peer.cut()
        await self._peers_gone(CUT_GRACE, None)
        if self._quic is not None:
            self._quic.close()
        if self._checker is not None:
            self._checker.cancel()
        if (recorder := self.runtime.recorder) is not None:
            await asyncio.get_running_loop().run_in_executor(None, recorder.close)
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
            self.runtime.parking.check(self.runtime.clock())
            self.runtime.rooms.look()

    # -------------------------------------------------------------------------------- connections

    async def _on_connection(self, socket: Connection | QuicPeerSocket) -> None:
        socket.arrival.has_arrived()
        newcomer = Peer(socket, self.runtime, socket.visitor)
        self.runtime.occupancy.enter(newcomer)
        peer: Lifetime | None = newcomer
        while peer is not None:
            peer = await self._serve(peer)

    async def _serve(self, peer: Lifetime) -> Lifetime | None:
        """Serves a session over this connection; returns the one that goes on over it."""
        task = self._peers[peer] = asyncio.current_task()
        try:
            if self.runtime.draining:
                peer.shut_down()
            return await peer.run()
        finally:
            # Its client may have come back over another connection meanwhile.
            if self._peers.get(peer) is task:
                del self._peers[peer]

    def _on_request(
        self, socket: Connection, request: Request
    ) -> Response | Awaitable[Response] | None:
        """Answers plain HTTP and refuses what need not become a WebSocket."""
        try:
            asked = read_request(request)
        except ValueError as error:
            return Refusal(400, f"malformed request: {error}").response()
        is_visit = self._page is not None and self._page.is_visit(asked)
        refusal = socket.visitor.check(asked, is_visit)
        answer = refusal or self._answer(socket.visitor, asked)
        return answer.response() if isinstance(answer, Refusal) else answer

    def _answer(
        self, visitor: Visitor, asked: Asked
    ) -> Response | Refusal | Awaitable[Response] | None:
        """The answer to a request that is in order; None lets it become a WebSocket."""
        if asked.path in ("/healthz", "/metrics", "/sessions"):
            return self._tell(visitor, asked)
        if self._page is not None and self._page.has(asked):
            return self._page.answer(asked)
        if self._image is not None and self._image.has(asked):
            return hand_out_model(self._image, visitor, asked)
        if asked.path.startswith(VOICES) and not asked.is_upgrade:
            return hand_out_voice(self.runtime, visitor, asked)
        if not asked.is_upgrade and self._page is not None:
            return Refusal(404, "nothing here; the page is at /")
        if not asked.is_upgrade or asked.subprotocols.isdisjoint(VERSIONS):
            upgrade = {"Upgrade": "websocket", "Sec-WebSocket-Protocol": ", ".join(VERSIONS)}
            return Refusal(
                426, f"speak WebSocket with subprotocol {' or '.join(VERSIONS)}", upgrade
            )
        return visitor.show(asked.token) or self._when_full()

    def _when_full(self) -> Refusal | None:
        """Refusal of who has no chance of a place."""
        if self.runtime.draining or self.runtime.occupancy.are_taken:
            return Refusal(503, "all sessions are taken", {"Retry-After": str(RETRY_AFTER)})
        return None

    def _refuse(self, visitor: Visitor) -> Refusal | None:
        """Reason that a connection over QUIC is refused; its token comes with the hello."""
        return visitor.check(BARE) or self._when_full()

    def _tell(self, visitor: Visitor, asked: Asked) -> Response | Refusal:
        """/healthz and /metrics: all to those who may come in, to others whether it is well.
        /sessions: to who runs the server, and to no other page."""
        if asked.method not in ("GET", "HEAD"):
            return Refusal(405, "only GET and HEAD here", {"Allow": "GET, HEAD"})
        if refusal := visitor.show(asked.token):
            return refusal
        allowed = {} if asked.origin is None else {"Access-Control-Allow-Origin": asked.origin}
        if asked.path == "/healthz":
            told = self.health() if visitor.is_known else {"status": status_of(self.runtime)}
            status = 503 if self.runtime.draining else 200
            answer = respond(status, json.dumps(told), "application/json", allowed)
        elif asked.path == "/sessions":
            if refusal := visitor.watch():
                return refusal
            answer = respond(200, json.dumps(self._watched()), "application/json")
        elif visitor.is_known:
            answer = respond(200, prometheus_of(self.runtime), "text/plain; version=0.0.4", allowed)
        else:
            return Refusal(401, "metrics want a token", {"WWW-Authenticate": "Bearer"})
        if asked.method == "HEAD":
            answer.body = b""
        return answer

    def _on_refusal(self, visitor: Visitor, path: str | None, status: int, sentence: str) -> None:
        self.runtime.metrics.refused[str(status)] += 1
        journal.refused(visitor.address, status, path, sentence)

    def health(self) -> dict[str, Any]:
        """Answer of /healthz to those who may come in."""
        told = health_of(self.runtime)
        return {**told, "page_model": None if self._image is None else self._image.place}

    def _watched(self) -> dict[str, Any]:
        """Answer of /sessions."""
        parked = [one for one in self.runtime.parking.parked if isinstance(one, Lifetime)]
        accounts = [session.account.to_json() for session in (*self._peers, *parked)]
        return {"server": self.health(), "sessions": [one for one in accounts if one is not None]}


def run(settings: ServerSettings) -> int:
    """Serves until SIGTERM or Ctrl-C (or the end of stdin, if so set), then drains; a second one
    ends it at once. Prints a line with the URL when ready, and one with that of the page. Returns
    the exit status: 0, or 1 when it could not start."""
    bound_malloc()
    raise_descriptors()
    with Output() as output:
        logs.configure(output, settings.log_level, settings.log_json)
        for sentence in settings.warnings:
            log.warning("%s", sentence)
        prepare_process(settings.threads)
        try:
            check_port(settings.host, settings.port)
            check_files(settings)
            server = Server(settings, load_codecs(settings))
            return run_on_best_loop(_serve(server, output))
        except (OSError, ValueError) as error:
            output.complain(f"facodec serve: {named_why(error)}")
            return 1


async def _serve(server: Server, output: Output) -> int:
    told, told_twice = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (told_twice if told.is_set() else told).set()

    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, on_signal)
    if server.settings.until_eof:
        watch_input(told)
    await server.start()
    # What is there now stays; to look through it for garbage holds every session up for 70 ms.
    gc.collect()
    gc.freeze()
    output.say(_ready_line(server))
    if server.quic_url is not None:
        output.say(f"and at {server.quic_url} over QUIC")
    if server.page_url is not None:
        output.say(f"page at {server.page_url} for browsers")
    journal.event("serving", url=server.url, sessions=server.capacity)
    await told.wait()
    output.say(f"finishing {server.sessions} sessions; once more to leave at once")
    journal.event("draining", sessions=server.sessions)
    await server.stop(told_twice)
    journal.event("stopped")
    return 0


def _ready_line(server: Server) -> str:
    delays = ", ".join(
        f"{name} ({codec.steps.backend}, {codec.latency.total / SAMPLE_RATE * 1000:.1f} ms "
        "algorithmic latency)"
        for name, codec in server.runtime.codecs.items()
    )
    places = server.settings.max_rooms, server.settings.max_listeners
    return (
        f"serving at {server.url} model {delays}, {server.capacity} sessions that compute, "
        "{} publishers of codes, {} listeners".format(*places)
    )
