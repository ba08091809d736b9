"""What a server can be told, as one frozen dataclass and its command-line options. No torch."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

TOKEN_VARIABLE = "FACODEC_TOKEN"


@dataclass(frozen=True)
class ServerSettings:
    """Every limit of a server. Times in seconds; see the options below for what each one means."""

    host: str = "127.0.0.1"
    port: int = 8765
    models: tuple[str, ...] = ("live",)
    device: str = "cpu"
    backend: str = "auto"
    voices: str | None = None
    tokens: tuple[str, ...] = ()
    threads: int = 1
    max_sessions: int | None = None
    max_rooms: int = 64
    max_subscribers: int = 64
    max_listeners: int = 256
    max_unknown: int = 256
    max_message: int = 128 * 1024
    message_rate: float = 200.0
    backlog: float = 2.0
    outbox: float = 10.0
    enroll: float = 60.0
    hello_timeout: float = 5.0
    idle_timeout: float = 60.0
    room_wait: float = 60.0
    ping_interval: float = 2.0
    ping_timeout: float = 20.0
    drain: float = 5.0
    until_eof: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 to 65535, got {self.port}")
        if not self.models:
            raise ValueError("a server needs at least one model, got none")
        if any(not token for token in self.tokens):
            raise ValueError("a token must not be empty")
        counts = ("max_sessions", "max_rooms", "max_subscribers", "max_listeners", "max_unknown")
        for name in ("threads", *counts):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.max_message < 1024:
            raise ValueError(f"max_message must be at least 1024, got {self.max_message}")
        if not self.message_rate > 0:
            raise ValueError(f"message_rate must be more than 0, got {self.message_rate}")
        times = ("backlog", "outbox", "enroll", "hello_timeout", "idle_timeout", "room_wait")
        for name in (*times, "ping_interval", "ping_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0 s, got {getattr(self, name)}")
        if not self.drain >= 0:
            raise ValueError(f"drain must be at least 0 s, got {self.drain}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``facodec serve``, with the defaults of :class:`ServerSettings`."""
    default = ServerSettings()
    add = parser.add_argument
    add("--host", default=default.host, help="address to listen on (default %(default)s)")
    add("--port", type=int, default=default.port, help="0 takes a free one (default %(default)s)")
    add("--model", action="append", dest="models", metavar="NAME",
        help="model to serve, by name or directory; repeat for more, the first is the default")
    add("--device", default=default.device, help="where the model runs (default %(default)s)")
    add("--backend", default=default.backend,
        help="how it computes: auto, native, float32, bf16, int8 or onnx (default %(default)s)")
    add("--voices", metavar="DIR", default=default.voices,
        help="directory of voice profiles that clients may ask for by name")
    add("--token", action="append", dest="tokens", metavar="TOKEN",
        help=f"admit only clients with this token; repeat for more (also ${TOKEN_VARIABLE})")
    add("--threads", type=int, default=default.threads,
        help="model threads, no more than cores to spare (default %(default)s)")
    add("--max-sessions", type=int, default=default.max_sessions,
        help="sessions at once that compute (default: what this machine was measured to hold)")
    add("--max-rooms", type=int, default=default.max_rooms,
        help="rooms with a publisher at once, and names waited for (default %(default)s each)")
    add("--max-subscribers", type=int, default=default.max_subscribers,
        help="listeners in one room (default %(default)s)")
    add("--max-listeners", type=int, default=default.max_listeners,
        help="listeners in all rooms, beside the sessions (default %(default)s)")
    add("--max-unknown", type=int, default=default.max_unknown,
        help="connections without a hello; then the oldest gives way (default %(default)s)")
    add("--max-message", type=int, default=default.max_message, metavar="BYTES",
        help="largest message a client may send (default %(default)s)")
    add("--message-rate", type=float, default=default.message_rate, metavar="N",
        help="messages a second of one session that wait for no other's (default %(default)s)")
    _seconds(parser, "--backlog", default.backlog,
             "audio queued per session before its socket is no longer read")
    _seconds(parser, "--outbox", default.outbox,
             "audio queued for a listener before it is dropped as too slow")
    _seconds(parser, "--enroll", default.enroll, "longest recording for role enroll")
    _seconds(parser, "--hello-timeout", default.hello_timeout, "wait for a client's hello")
    _seconds(parser, "--idle-timeout", default.idle_timeout, "wait for a silent or stuck client")
    _seconds(parser, "--room-wait", default.room_wait, "a listener's wait for a publisher")
    _seconds(parser, "--ping-interval", default.ping_interval, "between pings to a client")
    _seconds(parser, "--ping-timeout", default.ping_timeout,
             "wait for anything from a client that was sent a ping; a listener's answer may take "
             "no longer than --outbox")
    _seconds(parser, "--drain", default.drain, "finishing sessions at shutdown")
    add("--until-eof", action="store_true",
        help="stop when standard input ends: for programs that start a server")  # fmt: skip


def from_arguments(options: argparse.Namespace) -> ServerSettings:
    """The settings the parsed options ask for. Raises ValueError for values out of range."""
    default = ServerSettings()
    tokens = list(options.tokens or [])
    if os.environ.get(TOKEN_VARIABLE):
        tokens.append(os.environ[TOKEN_VARIABLE])
    return ServerSettings(
        host=options.host,
        port=options.port,
        models=tuple(options.models or default.models),
        device=options.device,
        backend=options.backend,
        voices=options.voices,
        tokens=tuple(tokens),
        threads=options.threads,
        max_sessions=options.max_sessions,
        max_rooms=options.max_rooms,
        max_subscribers=options.max_subscribers,
        max_listeners=options.max_listeners,
        max_unknown=options.max_unknown,
        max_message=options.max_message,
        message_rate=options.message_rate,
        backlog=options.backlog,
        outbox=options.outbox,
        enroll=options.enroll,
        hello_timeout=options.hello_timeout,
        idle_timeout=options.idle_timeout,
        room_wait=options.room_wait,
        ping_interval=options.ping_interval,
        ping_timeout=options.ping_timeout,
        drain=options.drain,
        until_eof=options.until_eof,
    )


def _seconds(parser: argparse.ArgumentParser, flag: str, default: float, text: str) -> None:
    text = f"seconds: {text} (default %(default)s)"
    parser.add_argument(flag, type=float, default=default, metavar="S", help=text)
