"""Questions over plain HTTP: answers, refusals, and what is no server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from clients.errors import (
    ConnectError,
    Forbidden,
    NotAuthorized,
    ServerFull,
    ServerUnreachable,
    WrongProtocol,
)
from clients.library.asking import ask


class Handler(BaseHTTPRequestHandler):
    """Answers what its path asks for, and keeps what came."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        name = self.path.partition("?")[0].rpartition("/")[2]
        status = int(name) if name.isdigit() else 200
        body = {"list": b"[1]", "text": b"hello", "deep": b"[" * 100_000}.get(name, b'{"a": 1}')
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        if status in (429, 503):
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def answering() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """The address of a server, and what it was asked."""
    asked: list[tuple[str, str | None]] = []
    handler = type("Kept", (Handler,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"ws://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def question(url: str, path: str, token: str | None = None) -> dict[str, Any]:
    return ask(url, path, token=token, ca=None)


def test_the_question_goes_beside_the_address_with_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with answering() as (url, asked):
        for address in (url, f"{url}/", f"{url}/codec/?token=b", f"{url}/room"):
            assert question(address, "healthz", "secret") == {"a": 1}
        assert question(url, "healthz") == {"a": 1}
    paths = ["/healthz", "/healthz", "/codec/healthz?token=b", "/healthz", "/healthz"]
    assert asked == [*((path, "Bearer secret") for path in paths[:4]), (paths[4], None)]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("401", NotAuthorized),
        ("403", Forbidden),
        ("429", ServerFull),
        ("503", ServerFull),
        ("426", WrongProtocol),
        ("500", WrongProtocol),
        ("302", WrongProtocol),
        ("list", WrongProtocol),
        ("text", WrongProtocol),
        ("deep", WrongProtocol),
    ],
)
def test_other_answers_are_sentences(path: str, error: type[ConnectError]) -> None:
    with answering() as (url, asked):
        with pytest.raises(error) as caught:
            question(url, path, "secret")
        assert "secret" not in str(caught.value)
        assert [way for way, _ in asked] == [f"/{path}"], "a token goes to no other address"
        if error is ServerFull:
            assert caught.value.retry_after == 7.0  # type: ignore[attr-defined]


def test_where_nobody_answers() -> None:
    with answering() as (url, _):
        pass
    with pytest.raises(ServerUnreachable, match="facodec serve"):
        question(url, "healthz")
    with pytest.raises(ConnectError, match="is no server address"):
        question("nonsense", "healthz")
