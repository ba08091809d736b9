from __future__ import annotations

import socket

import pytest

from streaming.server.origins import Hosts, Origins, is_loopback


@pytest.mark.parametrize(
    ("bound", "host", "admitted"),
    [
        ("127.0.0.1", "127.0.0.1:8765", True),
        ("127.0.0.1", "localhost:8765", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "localhost.:1", True),
        ("127.0.0.1", "[::1]:8765", True),
        ("127.0.0.1", "127.1.2.3", True),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "[::1", False),
        ("127.0.0.1", "::1]", False),
        ("127.0.0.1", "[::1]x", False),
        ("127.0.0.1", "[[::1]]", False),
        ("127.0.0.1", "[localhost]", False),
        ("127.0.0.1", "localhost]:80", False),
        ("127.0.0.1", "192.0.2.1", False),
        ("127.0.0.1", "evil.example:8765", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "a@127.0.0.1", False),
        ("0.0.0.0", "192.0.2.1:8765", True),
        ("::", "[2001:db8::1]:8765", True),
        ("", "192.0.2.1", True),
        ("0.0.0.0", "evil.example", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("studio.lan", "studio.lan:80", True),
        ("studio.lan", "evil.example", False),
    ],
)
def test_names_of_a_server(bound: str, host: str, admitted: bool) -> None:
    assert Hosts(bound).admits(host) == admitted


def test_names_that_are_allowed() -> None:
    hosts = Hosts("127.0.0.1", ["codec.example.org:443", "*.studio.lan"])
    assert hosts.admits("Codec.Example.org") and hosts.admits("codec.example.org:9")
    assert hosts.admits("a.studio.lan") and not hosts.admits("studio.lan.evil.example")
    assert Hosts("127.0.0.1", ["*"]).admits("anything.example")


def test_a_machine_goes_by_its_own_name_where_others_can_reach_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Studio.lan")
    for name in ("studio", "studio.lan:8765", "studio.local"):
        assert Hosts("0.0.0.0").admits(name)
        assert not Hosts("127.0.0.1").admits(name)


@pytest.mark.parametrize(
    ("origin", "host", "secure", "admitted"),
    [
        ("http://localhost:8765", "localhost:8765", False, True),
        ("http://LOCALHOST:8765", "localhost:8765", False, True),
        ("https://codec.example", "codec.example", True, True),
        ("https://codec.example", "codec.example:443", True, True),
        ("https://codec.example:443", "codec.example", True, True),
        ("http://codec.example", "codec.example:80", False, True),
        ("https://codec.example", "codec.example", False, True),  # TLS ends at a proxy before us
        ("http://codec.example", "codec.example", True, False),
        ("http://localhost:3000", "localhost:8765", False, False),
        ("http://evil.example", "localhost:8765", False, False),
        ("http://evil.example", "evil.example:8765", False, False),
        ("null", "localhost:8765", False, False),
        ("", "localhost:8765", False, False),
        ("*", "*", False, False),
        ("file://", "localhost:8765", False, False),
        ("chrome-extension://abc", "abc", False, False),
        ("http://", "", False, False),
        ("http://localhost:8765", None, False, False),
    ],
)
def test_pages_of_the_servers_own_origin(
    origin: str, host: str | None, secure: bool, admitted: bool
) -> None:
    assert Origins().admits(origin, host, secure) == admitted


def test_origins_that_are_allowed() -> None:
    origins = Origins(["https://App.example.org/", "http://localhost:3000"])
    assert origins.admits("https://app.example.org", "localhost", False)
    assert origins.admits("https://app.example.org:443", "localhost", True)
    assert not origins.admits("http://app.example.org", "localhost", False)
    assert not origins.admits("null", "localhost", False)
    everybody = Origins(["*"])
    assert everybody.admits("http://evil.example", "localhost", False)
    assert not everybody.admits("null", "localhost", False)


@pytest.mark.parametrize("origin", ["null", "example.org", "ftp://a", "https://a/path", "https://"])
def test_what_cannot_be_allowed(origin: str) -> None:
    with pytest.raises(ValueError, match="expected an origin like"):
        Origins([origin])


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "192.0.2.1", "example.org")))
