"""Rules against web pages that reach for a server they do not belong to: Host and Origin."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

AUTHORITY = re.compile(r"(\[[^\[\]]*:[^\[\]]*\]|[^\[\]]*)(:[0-9]*)?")
"""A host and perhaps a port; brackets, if any, around an IPv6 address."""
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def is_loopback(host: str) -> bool:
    """Whether a host to listen on can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Hosts:
    """Names a server may be called by in ``Host``.

    A page can have its own name resolve to any address and so pass for the server's own page; it
    cannot choose the name its browser then sends. ``bound``: where the server listens. ``allowed``:
    more names, as glob patterns. Loopback names and the bound address are always allowed; where the
    server listens for other machines, so are this machine's name and, on the wildcard address, any
    IP address: no name, so none that could have been made to point here.
    """

    def __init__(self, bound: str, allowed: Iterable[str] = ()) -> None:
        self._allowed = [_without_port(name) for name in allowed]
        self._bound = bound.lower().strip("[]")
        address = _address(self._bound)
        self._any_address = not self._bound or (address is not None and address.is_unspecified)
        self._own = set() if is_loopback(bound) else _own_names()

    def admits(self, host: str) -> bool:
        """Whether ``host``, the value of a Host header, may stand for this server."""
        if not AUTHORITY.fullmatch(host.strip()):
            return False
        name = _without_port(host)
        address = _address(name)
        if address is not None and (self._any_address or address.is_loopback):
            return True
        return (
            name == "localhost"
            or name == self._bound
            or name in self._own
            or any(fnmatchcase(name, pattern) for pattern in self._allowed)
        )


class Origins:
    """Web pages that may use a server: those of its own origin, and ``allowed`` ones, each
    ``https://host[:port]``, or ``*`` for all. ``null``, the origin of files and sandboxed frames,
    is nobody's. Raises ValueError for what is no origin."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        given = set(allowed)
        self._allows_all = "*" in given
        self._allowed = {_canonical(origin) for origin in given - {"*"}}

    def admits(self, origin: str, host: str | None, secure: bool) -> bool:
        """Whether a page of this origin may come in. ``host``: the request's Host. ``secure``:
        whether it came over TLS, where a page without it is another origin."""
        try:
            given = _canonical(origin)
        except ValueError:
            return False
        if self._allows_all or given in self._allowed:
            return True
        scheme, _, authority = given.partition("://")
        if host is None or (secure and scheme != "https"):
            return False
        return authority == host.lower().removesuffix(DEFAULT_PORTS[scheme])


def single(values: Sequence[str]) -> str | None:
    """The value of a header that may come once; None where it did not. Raises ValueError."""
    if len(values) > 1:
        raise ValueError(f"one value expected, got {len(values)}")
    return values[0] if values else None


def _canonical(origin: str) -> str:
    """The origin in lower case and without its scheme's own port."""
    lowered = origin.strip().lower().removesuffix("/")
    scheme, separator, authority = lowered.partition("://")
    bad = not authority or any(character in authority for character in "/@?# \\,")
    if not separator or scheme not in DEFAULT_PORTS or bad:
        raise ValueError(f"expected an origin like https://example.org, got {origin!r}")
    return f"{scheme}://{authority.removesuffix(DEFAULT_PORTS[scheme])}"


def _without_port(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") > 1:
        return host  # an IPv6 address without brackets
    return host.partition(":")[0].removesuffix(".")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _own_names() -> set[str]:
    """This machine's name, in full, its first label, and as it is announced on a local network."""
    name = socket.gethostname().lower().removesuffix(".")
    short = name.partition(".")[0]
    return {name, short, f"{short}.local"} - {"", ".local"}
