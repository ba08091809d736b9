"""Addresses of servers, and the proxy that the user's environment names for one; loopback is never
reached through a proxy."""

from __future__ import annotations

import re
from ipaddress import ip_address

from websockets.exceptions import InvalidURI
from websockets.proxy import get_proxy
from websockets.uri import WebSocketURI, parse_uri

from clients.errors import ConnectError
from clients.options import DEFAULT_URL
from facodec.reasons import shown

LONGEST_ADDRESS = 2048
NO_ADDRESS = (InvalidURI, ValueError, OverflowError)
"""Raised for an address that is none."""
QUIC = "quic://"
"""Beginning of an address for QUIC."""
SCHEMES = {"": "ws", "ws": "ws", "wss": "wss", "http": "ws", "https": "wss", "quic": "quic"}
"""Beginnings of addresses that people type or copy from a browser, and those that are meant."""
_SCHEME = re.compile(rf"({'|'.join(filter(None, SCHEMES))}):/*", re.IGNORECASE)
_PORT = re.compile(r"^(?:wss?|quic)://[^/?@]*:([0-9]{1,9})(?:[/?]|$)", re.IGNORECASE)
_PLACE = re.compile(r"[\w.:\[\]-]{1,80}(?:/[\w./-]{0,80})?", re.ASCII)


def check_address(url: str) -> WebSocketURI:
    """The parts of the address of a server. Raises ConnectError for what is none."""
    try:
        return _parts(url)
    except NO_ADDRESS as error:
        given = shown(without_secrets(url)[:100])
        port = _PORT.search(given)
        if port and not 0 < int(port[1]) < 1 << 16:
            raise ConnectError(
                f"expected a port of 1 to 65535 in {given!r}, got {port[1]}"
            ) from error
        raise ConnectError(f"{given!r} is no server address; one is {_like(url)}") from error


def proxy_for(url: str) -> str | None:
    """The address of the proxy to reach ``url`` through, None for none. Raises ConnectError."""
    server = check_address(url)
    return None if is_loopback(server.host) else get_proxy(server)


def without_secrets(address: str) -> str:
    """An address as it may be shown: without user name, password and query."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        scheme, rest = "", address
    place, query, hidden = rest.partition("?")
    if "@" in hidden and "@" not in place:  # of a password with a question mark
        place = ""
    return f"{scheme}{mark}{place.rpartition('@')[2]}{'?...' if query else ''}"


def is_quic(url: str) -> bool:
    """Whether an address is one for QUIC."""
    return url.lower().startswith(QUIC)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _parts(url: str) -> WebSocketURI:
    if len(url) > LONGEST_ADDRESS:
        raise ValueError("too long")
    if " " in url or not url.isprintable():  # of which the parser drops some
        raise ValueError("a space or a control character")
    if (port := _PORT.search(without_secrets(url))) and not int(port[1]):  # taken for none given
        raise ValueError("no such port")
    # Host, port and path are written as in the address of a WebSocket.
    parts = parse_uri(f"wss://{url[len(QUIC) :]}" if is_quic(url) else url)
    parts.host.encode("idna")
    if not 0 < parts.port < 1 << 16:
        raise ValueError("no such port")
    return parts


def _like(url: str) -> str:
    """An address of a server: that which may be meant by one that is none, else the default."""
    typed = without_secrets(url).partition("?")[0]
    scheme, place = "", typed.removeprefix("://")
    if begun := _SCHEME.match(typed):
        scheme, place = begun[1].lower(), typed[begun.end() :]
    meant = f"{SCHEMES[scheme]}://{place}"
    try:
        _parts(meant)
    except NO_ADDRESS:
        return DEFAULT_URL
    return meant if _PLACE.fullmatch(place) and "//" not in place else DEFAULT_URL
