"""Questions to a server over plain HTTP: what it tells of itself."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from clients.errors import UsageError, WrongProtocol
from clients.library.addresses import (
    check_address,
    is_loopback,
    is_quic,
    proxy_for,
    without_secrets,
)
from clients.library.certificates import client_context
from clients.library.refusals import explain_failure, explain_handshake

TIMEOUT = 10.0
"""Seconds that a server has to answer."""
LARGEST = 1 << 22
"""Bytes of an answer."""


class _NoRedirects(HTTPRedirectHandler):
    """Follows no server elsewhere: a token is for one alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask(
    url: str, path: str, *, token: str | None, ca: str | None, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """The JSON object that the server at ``url`` (``ws://`` or ``wss://``) answers at ``path``,
    relative to that address, within ``timeout`` s. ``token``, ``ca``: see
    :class:`clients.connect`. Raises ConnectError, and UsageError for an address for QUIC."""
    server = check_address(url)
    if is_quic(url):
        raise UsageError("a server is asked over ws:// or wss://: give that address")
    _, place, base, query, _ = urlsplit(url)
    scheme = "https" if server.secure else "http"
    here = urlunsplit((scheme, place.rpartition("@")[2], base, "", ""))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = Request(urljoin(here, path) + (f"?{query}" if query else ""), headers=headers)
    proxy = proxy_for(url)
    try:
        with _opener(url, ca, direct=is_loopback(server.host)).open(request, None, timeout) as come:
            told = json.loads(come.read(LARGEST))
    except HTTPError as error:
        body = error.read(LARGEST)
        response = Response(error.code, str(error.reason), Headers(error.headers.items()), body)
        raise explain_handshake(url, InvalidStatus(response)) from error
    except URLError as error:
        reason = error.reason if isinstance(error.reason, Exception) else error
        raise explain_failure(url, proxy, reason) from error
    except OSError as error:
        raise explain_failure(url, proxy, error) from error
    except (HTTPException, ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise WrongProtocol(f"what answers at {without_secrets(url)} is no facodec server")
    return told


def _opener(url: str, ca: str | None, *, direct: bool) -> OpenerDirector:
    handlers = [_NoRedirects(), HTTPSHandler(context=client_context(url, ca))]
    return build_opener(*handlers, *([ProxyHandler({})] if direct else []))
