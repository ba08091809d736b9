"""Requests before they are read."""

from __future__ import annotations

import pytest

from streaming.server.http import is_malformed, shown_token


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        (b"", False),
        (b"GET", False),
        (b"GET / HTTP/1.1\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"GET /?token=a HTTP/1.0\n", False),
        (b"\x16\x03\x01\n", True),
        (b"hello server\r\n", True),
        (b"GET / / HTTP/1.1\r\n", True),
        (b"\r\n", True),
    ],
)
def test_a_request_that_is_none_is_known_by_its_first_line(beginning: bytes, expected: bool):
    assert is_malformed(beginning) is expected


@pytest.mark.parametrize(
    ("request_", "token"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nauthorization: bearer abc \r\n\r\n", "abc"),
        (b"GET /?x=1&token=a%2Bb HTTP/1.1\r\nHost: a\r\n\r\n", "a+b"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic abc\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\n\r\nAuthorization: Bearer abc\r\n\r\n", None),
        (b"\xff\xfe?token=\xff\r\n\r\n", "\xff"),
    ],
)
def test_the_token_is_found_before_the_request_is_read(request_: bytes, token: str | None):
    assert shown_token(request_) == token
