"""Requests that a server should refuse before anything becomes of them."""

from __future__ import annotations

from benchmarks.attacks.checks import Check, share
from benchmarks.attacks.testbed import Testbed
from benchmarks.attacks.wire import Target, exchange, handshake, request

VERSION_UNKNOWN = 505
FOREIGN = (
    ("Origin: http://page.example",),
    ("Origin: null",),
    ("Origin: https://127.0.0.1.page.example",),
    ("Host: page.example", "Origin: http://page.example"),
    ("Host: page.example:8765",),
)


async def foreign_pages(testbed: Testbed) -> tuple[list[Check], dict[str, float]]:
    """A browser on other people's pages, and one whose DNS was told a lie; then the own ones."""
    target, refused = testbed.anybody, 0
    counts: dict[str, float] = {}
    for headers in FOREIGN:
        status, _ = await exchange(target, handshake(target, *headers))
        counts[f"{', '.join(headers)} -> {status}"] = 1
        refused += 400 <= status < 500
    own = (f"Origin: http://{target.host}:{target.port}",)
    welcome = 0
    for kept in ((), own):
        status, _ = await exchange(target, handshake(target, *kept))
        welcome += status == 101
    return [
        share("foreign pages refused", refused, len(FOREIGN)),
        share("no Origin, own Origin let in", welcome, 2),
    ], counts


def malformed_requests(target: Target) -> dict[str, bytes]:
    """Requests that are wrong, each in its own way, by what is wrong."""
    good = handshake(target)
    bearer = "Authorization: Bearer"
    twice = handshake(target, f"{bearer} a", f"{bearer} b")
    return {
        "target //[": handshake(target, path="//["),
        "target http://[": handshake(target, path="http://["),
        "plain GET of //[": request("//[", target),
        "token twice": twice,
        "token that is no ASCII": handshake(target, f"{bearer} \xff\xfe"),
        "query that is no UTF-8": handshake(target, path="/?token=%ff%fe&token=\xff"),
        "no Host": good.replace(b"Host:", b"X-Host:"),
        "key that is none": good.replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: !"),
        "key twice": handshake(target, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        "version 99": good.replace(b"Version: 13", b"Version: 99"),
        "no subprotocol": good.replace(b"Sec-WebSocket-Protocol", b"X-Protocol"),
        "POST": good.replace(b"GET", b"POST"),
        "four words": good.replace(b" HTTP/1.1", b" / HTTP/1.1"),
        "HTTP/9": good.replace(b"HTTP/1.1", b"HTTP/9.9"),
        "no colon in a header": good.replace(b"Upgrade: ", b"Upgrade "),
        "a folded header": good.replace(b"Upgrade: ", b"Upgrade:\r\n "),
        "a header of 100 KB": handshake(target, "X: " + "x" * 100_000),
        "a thousand headers": handshake(target, *(f"X-{i}: y" for i in range(1000))),
        "a body": good.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"),
        "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
        "two words": b"hello server\r\n\r\n",
        "empty lines": b"\r\n\r\n\r\n\r\n",
    }


async def malformed(testbed: Testbed) -> tuple[list[Check], dict[str, float]]:
    """Every one of them must be answered, and with a status from 400 to 499, or the 505 that is
    for a version of HTTP."""
    counts: dict[str, float] = {}
    answered, failed = 0, 0
    requests = malformed_requests(testbed.anybody)
    for wrong, sent in requests.items():
        status, _ = await exchange(testbed.anybody, sent, patience=3.0)
        counts[f"{wrong} -> {status}"] = 1
        answered += 400 <= status < 500 or status == VERSION_UNKNOWN
        failed += status >= 500 and status != VERSION_UNKNOWN
    return [
        Check("answered 5xx", failed, 0, f"of {len(requests)}"),
        share("answered 4xx", answered, len(requests)),
    ], counts
