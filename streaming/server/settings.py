"""Settings of a server, as one frozen dataclass and its command-line options. No torch."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field

from facodec.families import BACKENDS
from streaming.server.addresses import Proxies
from streaming.server.logs import LEVELS
from streaming.server.origins import Origins, is_loopback
from streaming.wire.tokens import check_token, readable_by_others

TOKEN_VARIABLE = "FACODEC_TOKEN"
MOST = 1_000_000_000
"""Largest number, and most seconds, that a limit may be: as good as none."""
BOUNDS = (
    (1, MOST, "", "token_tries keep_voices max_sessions max_rooms max_subscribers max_listeners"),
    (1, MOST, "", "max_unknown message_rate"),
    (1, 1024, "", "threads"),
    (1024, MOST, "", "max_message"),
    (0.001, MOST, " s", "backlog outbox enroll hello_timeout idle_timeout room_wait"),
    (0.001, MOST, " s", "ping_interval ping_timeout"),
    (0, MOST, " s", "drain token_wait park"),
    (0, MOST, "", "address_connections address_sessions address_publishers address_listeners"),
)
"""Limits, by name, with the least and the most that each may be; None where there is none."""


@dataclass(frozen=True)
class ServerSettings:
    """Every limit of a server. Times in seconds; see the options below for what each one means."""

    host: str = "127.0.0.1"
    port: int = 8765
    models: tuple[str, ...] = ("live",)
    device: str = "cpu"
    backend: str = "auto"
    voices: str | None = None
    keep_voices: int | None = None
    record: str | None = None
    record_rooms: tuple[str, ...] = ()
    tokens: tuple[str, ...] = field(default=(), repr=False)
    token_file: str | None = None
    open: bool = False
    token_tries: int = 3
    token_wait: float = 60.0
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    address_connections: int | None = None
    address_sessions: int | None = None
    address_publishers: int | None = None
    address_listeners: int | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    quic_port: int | None = None
    threads: int = 1
    max_sessions: int | None = None
    max_rooms: int = 192
    max_subscribers: int = 64
    max_listeners: int = 192
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
    ping_timeout: float = 17.0
    park: float = 30.0
    drain: float = 5.0
    until_eof: bool = False
    log_level: str = "info"
    log_json: bool = False
    page: str | None = None
    """Folder of the page that browsers are shown; none where it is None."""
    warnings: tuple[str, ...] = ()
    """Sentences about how the server was asked to run, to be logged when it starts."""

    def __post_init__(self) -> None:
        self._check_limits()
        self._check_access()

    def _check_limits(self) -> None:
        for port in (self.port, self.quic_port or 0):
            if not 0 <= port <= 65535:
                raise ValueError(f"expected a port in 0..65535, got {port}")
        if not self.models:
            raise ValueError("expected at least one model, got none")
        for least, most, unit, names in BOUNDS:
            for name in names.split():
                value = getattr(self, name)
                if value is not None and not least <= value <= most:
                    raise ValueError(f"expected {name} of {least} to {most}{unit}, got {value}")
        if self.log_level not in LEVELS:
            levels = ", ".join(LEVELS)
            raise ValueError(f"expected log_level to be one of {levels}, got {self.log_level}")

    def _check_access(self) -> None:
        if self.record_rooms and self.record is None:
            raise ValueError("--record-room says which rooms: give --record DIR too")
        if self.keep_voices is not None and self.voices is None:
            raise ValueError("--keep-voices says how many voices: give --voices DIR too")
        for token in self.tokens:
            check_token(token)
        Origins(self.allow_origins)
        Proxies(self.trusted_proxies)
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("a TLS key needs its certificate too: give --tls-cert")
        if self.quic_port is not None and self.tls_cert is None:
            raise ValueError("QUIC needs a certificate: give --tls-cert, or --tls-self-signed")
        guarded = self.tokens or self.token_file is not None
        if not (guarded or self.open or is_loopback(self.host)):
            raise ValueError(
                f"host {self.host!r} lets other machines in: ask them for a token with "
                f"--token-file FILE or ${TOKEN_VARIABLE}, or let everybody in with --open"
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``facodec serve``, with the defaults of :class:`ServerSettings`."""
    default = ServerSettings()
    add = parser.add_argument
    add("--host", default=default.host, help="address to listen on (default %(default)s)")
    add("--port", type=int, default=default.port, help="0 takes a free one (default %(default)s)")
    add(
        "--model",
        action="append",
        dest="models",
        metavar="NAME",
        help="model to serve, by name or directory; repeat for more, the first is the default",
    )
    add("--device", default=default.device, help="where the model runs (default %(default)s)")
    add(
        "--backend",
        default=default.backend,
        help=f"how it computes: {', '.join(BACKENDS)} (default %(default)s)",
    )
    add(
        "--voices",
        metavar="DIR",
        help="directory of voice profiles that clients may ask for by name",
    )
    add("--keep-voices", type=int, metavar="N", help="let clients keep voices that they enrol in "
        "the directory of --voices, under new names, until it holds N (default: none)")  # fmt: skip
    add(
        "--record",
        metavar="DIR",
        help="record rooms there, a .fac file each time somebody publishes. Tell those who talk",
    )
    add(
        "--record-room",
        action="append",
        dest="record_rooms",
        metavar="PATTERN",
        help="record only rooms of this name, a glob pattern; repeat for more (default: all)",
    )
    add(
        "--token",
        action="append",
        dest="tokens",
        metavar="TOKEN",
        help="admit only clients with this token; repeat for more. Whoever can list this machine's "
        f"processes sees it: better use ${TOKEN_VARIABLE} or --token-file",
    )
    add(
        "--token-file",
        metavar="FILE",
        help="tokens and what each may do, one a line: TOKEN [publish,subscribe,convert] "
        "[rooms=PATTERN,...] [name=NAME]",
    )
    add(
        "--open",
        action="store_true",
        help="let other machines in without a token, where --host lets them reach this one",
    )
    add(
        "--token-tries",
        type=int,
        default=default.token_tries,
        metavar="N",
        help="wrong tokens of one address before it has to wait (default %(default)s)",
    )
    _seconds(
        parser,
        "--token-wait",
        default.token_wait,
        "longest wait after a wrong token; the first is 1 s, each further one twice as long",
    )
    add(
        "--allow-origin",
        action="append",
        dest="allow_origins",
        metavar="ORIGIN",
        help="let pages of this origin in (https://example.org; * is all); repeat for more "
        "(default: none but the server's own)",
    )
    add(
        "--allow-host",
        action="append",
        dest="allow_hosts",
        metavar="NAME",
        help="a name clients may call this server by, as a glob pattern; repeat for more "
        "(default: loopback names, the address it listens on, this machine's name)",
    )
    add(
        "--trusted-proxy",
        action="append",
        dest="trusted_proxies",
        metavar="ADDRESS",
        help="proxy, by address or network (10.0.0.0/8), whose X-Forwarded-For is believed; "
        "repeat for more",
    )
    shares = {
        "connections": "connections at once from one address, an IPv6 /64 being one, 429 beyond; "
        "0: no limit (default 64, no limit for this machine's own)",
        "sessions": "sessions that compute for one address; 0: no limit (default half of all, no "
        "limit for this machine's own)",
        "publishers": "publishers of codes at one address; 0: no limit (default half of "
        "--max-rooms, no limit for this machine's own)",
        "listeners": "listeners at one address; 0: no limit, nor on the names it waits for "
        "(default half of all, no limit for this machine's own)",
    }
    for what, text in shares.items():
        add(f"--address-{what}", type=int, metavar="N", help=text)
    add(
        "--tls-cert",
        metavar="FILE",
        help="serve wss:// with this certificate chain, as PEM",
    )
    add(
        "--tls-key",
        metavar="FILE",
        help="its private key, unless it is in the same file",
    )
    counts = {
        "threads": "model threads, no more than cores to spare (default %(default)s)",
        "max-sessions": "sessions at once that compute (default: what this machine was measured to "
        "hold). Listeners do not, nor do publishers of codes while nobody hears them as sound",
        "max-rooms": "rooms with a publisher at once, publishers of codes, and names waited for "
        "(default %(default)s each)",
        "max-subscribers": "listeners in one room (default %(default)s)",
        "max-listeners": "listeners in all rooms, beside the sessions; each packet to each takes "
        "about 50 us of one core (default %(default)s)",
        "max-unknown": "connections without a hello; then the oldest gives way (default "
        "%(default)s)",
    }
    for what, text in counts.items():
        number = getattr(default, what.replace("-", "_"))
        add(f"--{what}", type=int, default=number, help=text)
    add(
        "--max-message",
        type=int,
        default=default.max_message,
        metavar="BYTES",
        help="largest message a client may send (default %(default)s)",
    )
    add(
        "--message-rate",
        type=float,
        default=default.message_rate,
        metavar="N",
        help="messages a second of one session that wait for no other's (default %(default)s)",
    )
    _seconds(
        parser,
        "--backlog",
        default.backlog,
        "audio queued per session before its socket is no longer read",
    )
    _seconds(
        parser,
        "--outbox",
        default.outbox,
        "audio queued for a listener before it is dropped as too slow",
    )
    _seconds(parser, "--enroll", default.enroll, "longest recording for role enroll")
    _seconds(parser, "--hello-timeout", default.hello_timeout, "wait for a client's hello")
    _seconds(parser, "--idle-timeout", default.idle_timeout, "wait for a silent or stuck client")
    _seconds(parser, "--room-wait", default.room_wait, "a listener's wait for a publisher")
    _seconds(parser, "--ping-interval", default.ping_interval, "between pings to a client")
    _seconds(
        parser,
        "--ping-timeout",
        default.ping_timeout,
        "wait for anything from a client that was sent a ping; a listener's answer may take "
        "no longer than --outbox",
    )
    _seconds(parser, "--park", default.park, "a broken connection's time to come back; 0: none")
    _seconds(parser, "--drain", default.drain, "finishing sessions at shutdown")
    add(
        "--until-eof",
        action="store_true",
        help="stop when standard input ends: for programs that start a server",
    )
    add(
        "--log-level",
        choices=LEVELS,
        default=default.log_level,
        help="least important lines to log on standard error (default %(default)s)",
    )
    add("--log-json", action="store_true", help="log one JSON object a line")  # fmt: skip


def from_arguments(options: argparse.Namespace) -> ServerSettings:
    """The settings the parsed options ask for. Raises ValueError for values out of range."""
    default = ServerSettings()
    tokens, warnings = list(options.tokens or []), []
    if tokens:
        warnings.append(
            "--token shows the token to everybody who can list this machine's processes: "
            f"use ${TOKEN_VARIABLE} or --token-file"
        )
    if options.token_file is not None and _is_readable_by_others(options.token_file):
        warnings.append(f"other accounts can read {options.token_file}: chmod 600 it")
    if os.environ.get(TOKEN_VARIABLE):
        tokens.append(os.environ[TOKEN_VARIABLE])
    return ServerSettings(
        host=options.host,
        port=options.port,
        models=tuple(options.models or default.models),
        device=options.device,
        backend=options.backend,
        voices=options.voices,
        keep_voices=options.keep_voices,
        record=options.record,
        record_rooms=tuple(options.record_rooms or ()),
        tokens=tuple(tokens),
        token_file=options.token_file,
        open=options.open,
        token_tries=options.token_tries,
        token_wait=options.token_wait,
        allow_origins=tuple(options.allow_origins or ()),
        allow_hosts=tuple(options.allow_hosts or ()),
        trusted_proxies=tuple(options.trusted_proxies or ()),
        address_connections=options.address_connections,
        address_sessions=options.address_sessions,
        address_publishers=options.address_publishers,
        address_listeners=options.address_listeners,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
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
        park=options.park,
        drain=options.drain,
        until_eof=options.until_eof,
        log_level=options.log_level,
        log_json=options.log_json,
        warnings=tuple(warnings),
    )


def _is_readable_by_others(path: str) -> bool:
    try:
        return readable_by_others(path)
    except OSError:
        return False  # whoever reads it will say what is wrong with it


def _seconds(parser: argparse.ArgumentParser, flag: str, default: float, text: str) -> None:
    text = f"seconds: {text} (default %(default)s)"
    parser.add_argument(flag, type=float, default=default, metavar="S", help=text)
