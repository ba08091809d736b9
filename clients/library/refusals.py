"""Reasons that a connection did not come about or broke, in sentences that say what to do."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from clients.errors import (
    ConnectError,
    Forbidden,
    NotAuthorized,
    ServerFull,
    ServerUnreachable,
    WrongProtocol,
)
from clients.library.addresses import without_secrets
from clients.options import DEFAULT_URL
from streaming.wire.protocol import VERSIONS
from streaming.wire.refusal import read_close_reason

USUAL_PORT = urlsplit(DEFAULT_URL).port
REFUSALS = range(400, 600)
"""Codes of closes that are HTTP statuses, over QUIC in place of an answer to the upgrade."""
BEHIND_PROXY = (502, 504)
"""Statuses of a proxy whose server cannot be reached, as while that starts again."""
LONGEST_SENTENCE = 200
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
"""OpenSSL's reasons, of its versions, where what answers speaks no TLS."""


def explain_handshake(url: str, error: InvalidHandshake) -> ConnectError:
    """The refusal of an HTTP upgrade as the exception that fits it."""
    url = without_secrets(url)
    if isinstance(error.__cause__, EOFError):
        tls = f"; if it uses TLS, it is wss{url[2:]}" if url.startswith("ws://") else ""
        return ServerUnreachable(f"the server at {url} went away before it answered{tls}")
    if not isinstance(error, InvalidStatus):
        return WrongProtocol(f"what answers at {url} is no facodec server ({error})")
    response = error.response
    says = _body(response.body or b"")
    return explain_status(
        url, response.status_code, says, _seconds(response.headers.get("Retry-After"))
    )


def explain_early_close(url: str, code: int, reason: str) -> ConnectError | None:
    """The refusal of a connection over QUIC as the exception that fits it, by code and reason of
    its close; None for a close that is no refusal."""
    if code not in REFUSALS:
        return None
    sentence, advice = read_close_reason(reason)
    says = f" ({sentence.rstrip('.')[:LONGEST_SENTENCE]})" if sentence else ""
    return explain_status(without_secrets(url), code, says, _seconds(advice))


def explain_status(url: str, status: int, says: str, advice: float | None) -> ConnectError:
    """A refusal by its HTTP status. ``url``: without secrets; ``says``: the server's sentence, in
    brackets; ``advice``: seconds to wait that it names."""
    if status == 503:
        later = f"try again in {advice:g} s" if advice is not None else "try again later"
        return ServerFull(f"the server at {url} is full{says}: {later}, or use another", advice)
    if status in BEHIND_PROXY:
        return ServerUnreachable(
            f"the server at {url} does not answer the proxy before it (HTTP {status}): "
            "see that it runs, or try again later"
        )
    if status == 401:
        return NotAuthorized(
            f"the server at {url} wants a token{says}: give it with $FACODEC_TOKEN or --token"
        )
    if status == 403:
        return Forbidden(f"the server at {url} does not let this client in{says}")
    if status == 429:
        return ServerFull(
            f"the server at {url} wants this address to wait{says}: try again "
            + (f"in {advice:g} s" if advice is not None else "later"),
            advice,
        )
    if status == 426:
        return WrongProtocol(
            f"the server at {url} does not speak {' or '.join(VERSIONS)}{says}: "
            "use versions of facodec that fit each other"
        )
    return WrongProtocol(f"the server at {url} refused the connection (HTTP {status}{says})")


def explain_failure(url: str, proxy: str | None, error: Exception) -> ConnectError:
    """Anything else that opening a connection raised, as the exception that fits it."""
    if proxy is not None:
        return ServerUnreachable(through_proxy(url, proxy, error))
    if isinstance(error, (OSError, asyncio.TimeoutError)):
        return ServerUnreachable(unreachable(url, error), none_there=_nobody_listens(error))
    reason = error or type(error).__name__
    return ConnectError(f"cannot connect to {without_secrets(url)}: {reason}")


def through_proxy(url: str, proxy: str, error: Exception) -> str:
    """The proxy of the environment did not lead to ``url``."""
    host, reason = urlsplit(url).hostname, error or type(error).__name__
    return (
        f"{without_secrets(url)} cannot be reached through the proxy {without_secrets(proxy)}, "
        f"which the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY): {reason}; "
        f"set NO_PROXY={host} to go there directly"
    )


def unreachable(url: str, error: OSError | asyncio.TimeoutError) -> str:
    """Nothing answered at ``url``."""
    url = without_secrets(url)
    if _nobody_listens(error):
        port = "" if urlsplit(url).port else f", which names no port ({USUAL_PORT} is usual)"
        return f"no server answers at {url}{port}: start one with `facodec serve`"
    if isinstance(error, socket.gaierror):
        return f"the host of {url} is unknown: check the address"
    if isinstance(error, ssl.SSLError):
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"the server at {url} does not prove that it is the right one "
                f"({error.verify_message}): give the certificate it should be signed by with --ca"
            )
        if error.reason in NO_TLS:
            return f"the server at {url} does not speak TLS: its address may be ws{url[3:]}"
        return f"no safe connection to {url}: {error.reason or error}"
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return f"the server at {url} did not answer in time: check the address and the network"
    return f"cannot connect to {url}: {error}"


def explain_close(error: ConnectionClosed) -> str:
    """A connection that ended before ``done``."""
    if error.rcvd is None:
        return "the connection to the server was lost"
    code, reason = error.rcvd.code, error.rcvd.reason
    says = f": {reason}" if reason else ""
    if code == 1001:
        return f"the server is shutting down{says}"
    if code == 1013:
        return f"the server is overloaded{says}; try again later"
    return f"the server closed the connection (code {code}{says})"


def _nobody_listens(error: Exception) -> bool:
    return isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error)


def _body(data: bytes | bytearray) -> str:
    """The sentence in a refusal, if there is one, to be put between our own words."""
    text = data.decode("utf-8", "replace").strip()
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if isinstance(fields, dict):
        text = str(fields.get("message") or fields.get("error") or "")
    first = text.splitlines()[0].rstrip(".") if text else ""
    return f" ({first[:LONGEST_SENTENCE]})" if first else ""


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
