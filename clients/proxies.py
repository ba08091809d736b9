"""The proxy that the user's environment names for a server, which is never used for loopback."""

from __future__ import annotations

from ipaddress import ip_address

from websockets.proxy import get_proxy
from websockets.uri import parse_uri


def proxy_for(url: str) -> str | None:
    """The address of the proxy to reach ``url`` through, None for none. Raises InvalidURI."""
    server = parse_uri(url)
    return None if is_loopback(server.host) else get_proxy(server)


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
