"""HTTP before the upgrade: requests read without trust, answers written, malformed ones answered.

:class:`RequestParser` and :class:`Connection` stand in for the WebSocket library's own, which hang
up on a malformed request without an answer.
"""

from __future__ import annotations

import http
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.version import version

from streaming.server.origins import single

ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:\[[0-9A-Fa-f:.]*\]|[^/?\[\]])*")
PATH = re.compile(r"/[\w.~!$&'()*+,;=:@/%-]*", re.ASCII)
"""Path of a request's target, by RFC 3986, section 3.3."""


@dataclass(frozen=True)
class Refusal:
    """An answer in place of what was asked for; ``sentence`` for people."""

    status: int
    sentence: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """Returns the HTTP response to send."""
        return respond(self.status, self.sentence + "\n", "text/plain", self.headers)


@dataclass(frozen=True)
class Asked:
    """A request, as far as the server looks at it. ``token``: from the Authorization header or the
    query. ``forwarded``: values of X-Forwarded-For. ``is_upgrade``: it wants to be a WebSocket.
    ``navigates``: a browser opens it in a tab. ``known_tags``: of what the browser has already."""

    method: str
    path: str
    host: str | None
    origin: str | None
    fetch_site: str | None
    token: str | None = field(repr=False)
    forwarded: tuple[str, ...]
    forwarded_scheme: str | None
    subprotocols: frozenset[str]
    is_upgrade: bool
    navigates: bool = False
    known_tags: frozenset[str] = frozenset()


BARE = Asked("GET", "/", None, None, None, None, (), None, frozenset(), True)
"""Request of a connection without HTTP: made by no page, through no proxy."""


def read_request(request: Request) -> Asked:
    """Reads a request. Raises ValueError for one that is malformed."""
    headers = request.headers
    target = ABSOLUTE.sub("", request.path, count=1)
    path, _, query = target.partition("?")
    if not PATH.fullmatch(path or "/"):
        raise ValueError(f"expected a path of the characters of RFC 3986, got {path[:40]!r}")
    version = getattr(request, "protocol", "HTTP/1.1")
    host = _single(headers, "Host")
    if host is None and version == "HTTP/1.1":
        raise ValueError("Host: one value expected, got none")
    offered = ",".join(headers.get_all("Sec-WebSocket-Protocol")).split(",")
    upgrades = ",".join(headers.get_all("Upgrade")).lower().split(",")
    tags = ",".join(headers.get_all("If-None-Match")).split(",")
    return Asked(
        method=getattr(request, "method", "GET"),
        path=path,
        host=host,
        origin=_single(headers, "Origin"),
        fetch_site=_single(headers, "Sec-Fetch-Site"),
        token=_token(_single(headers, "Authorization"), query),
        forwarded=tuple(headers.get_all("X-Forwarded-For")),
        forwarded_scheme=_single(headers, "X-Forwarded-Proto"),
        subprotocols=frozenset(name.strip() for name in offered),
        is_upgrade=version == "HTTP/1.1" and "websocket" in (name.strip() for name in upgrades),
        navigates=_navigates(headers),
        known_tags=frozenset(tag.strip().removeprefix("W/") for tag in tags),
    )


def respond(
    status: int, body: str, kind: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An HTTP response after which the connection ends."""
    data = body.encode()
    fields = {
        "Content-Type": f"{kind}; charset=utf-8",
        "Content-Length": str(len(data)),
        "Connection": "close",
        "Cache-Control": "no-store",
        **(headers or {}),
    }
    return Response(status, http.HTTPStatus(status).phrase, Headers(fields), data)


END = b"\r\n\r\n"
"""Ends a request without a body."""
REQUEST_LINE = re.compile(rb"[!-~]+ [!-~]+ HTTP/\d\.\d\r?\n")
MALFORMED = Refusal(400, "malformed HTTP request")
SIZE_LIMIT = "max_message_size" if version >= "16" else "max_size"
"""Name that the library has for it."""
FIRST_MESSAGE = 16 * 1024
"""Bytes of a client's first message, which is a hello of two or three KB at most."""
LONGEST_REQUEST = 16 * 1024
"""Bytes of a request: the library keeps 128 header lines of 8 KB each for anybody."""
TOO_LONG = Refusal(431, f"a request has at most {LONGEST_REQUEST} bytes")


def is_malformed(beginning: bytes) -> bool:
    """Whether what begins so is no request, whatever may follow."""
    line, end, _ = beginning.partition(b"\n")
    return bool(end) and not REQUEST_LINE.fullmatch(line + end)


def shown_token(request: bytes) -> str | None:
    """The token of a request that has not been read yet; None where there is none."""
    first, *lines = request.partition(END)[0].decode("latin-1").split("\r\n")
    query = first.partition("?")[2].partition(" ")[0]
    fields = (line.partition(":") for line in lines)
    shown = [value for name, _, value in fields if name.lower() == "authorization"]
    return _token(shown[0] if shown else None, query)


class RequestParser(ServerProtocol):
    """A WebSocket server's protocol that answers what is no HTTP request with 400.

    ``on_refusal``: is told of every refusal's status and sentence."""

    on_refusal: Callable[[int, str], None]
    largest: int | None
    """Bytes of a message but the first, which is a hello: strangers may send it too."""
    _tail = b""
    _asked = _early = _answered = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.largest = getattr(self, SIZE_LIMIT)
        setattr(self, SIZE_LIMIT, min(self.largest or FIRST_MESSAGE, FIRST_MESSAGE))

    def recv_frame(self, frame: Frame) -> None:
        """Takes a frame; after the first message longer ones may come."""
        super().recv_frame(frame)
        if frame.opcode in DATA_OPCODES and frame.fin:
            setattr(self, SIZE_LIMIT, self.largest)

    def receive_data(self, data: bytes | bytearray) -> None:
        """Takes what came. Nothing may follow a request before its answer: the library would take
        it for WebSocket frames, and hang up over them in place of answering."""
        if self.state is State.CONNECTING and not self._answered:
            data = self._up_to_end(bytes(data))
        super().receive_data(data)

    def _up_to_end(self, data: bytes) -> bytes:
        if self._asked:
            self._early = self._early or bool(data)
            return b""
        end = (self._tail + data).find(END)
        if end < 0:
            self._tail = (self._tail + data)[1 - len(END) :]
            return data
        size = end + len(END) - len(self._tail)
        self._asked, self._early = True, len(data) > size
        return data[:size]

    def send_response(self, response: Response) -> None:
        """Sends the response, the only one."""
        if response.status_code == 101 and self._early:
            response = Refusal(400, "wait for the answer before you send more").response()
        self._answered = True
        super().send_response(response)
        is_text = response.headers.get("Content-Type", "").startswith("text/plain")
        if response.status_code >= 400 and is_text:
            self.on_refusal(response.status_code, response.body.decode().strip())

    def send_eof(self) -> None:
        """Ends the connection; where it does so over a malformed request, not without a word."""
        if self.state is State.CONNECTING and self.handshake_exc and not self._answered:
            self._answered = True
            self.writes.append(MALFORMED.response().serialize())
            self.on_refusal(MALFORMED.status, MALFORMED.sentence)
        super().send_eof()


def _single(headers: Headers, name: str) -> str | None:
    try:
        return single(headers.get_all(name))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _navigates(headers: Headers) -> bool:
    return (headers.get_all("Sec-Fetch-Mode"), headers.get_all("Sec-Fetch-Dest")) == (
        ["navigate"],
        ["document"],
    )


def _token(authorization: str | None, query: str) -> str | None:
    """The token in the header, or else in the query; None where there is none."""
    if authorization is not None:
        scheme, _, credentials = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            return credentials.strip()
    for field_ in query.split("&"):
        name, _, value = field_.partition("=")
        if name == "token" and value:
            return unquote(value)  # a "+" is part of a token, which has no spaces
    return None
