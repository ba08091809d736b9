"""TLS of a server: its certificate and key."""

from __future__ import annotations

import ssl

from streaming.server.settings import ServerSettings


def server_context(settings: ServerSettings) -> ssl.SSLContext:
    """The context for the certificate that the settings name. Raises ValueError with a sentence
    for files that are missing, damaged, locked or do not fit each other."""
    cert, key = settings.tls_cert or "", settings.tls_key
    named = f"certificate {cert}" + (f" and key {key}" if key else "")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise ValueError(f"cannot use {named} for TLS: {reason}") from None
    except OSError as error:
        raise ValueError(f"cannot read {named}: {error.strerror or error}") from None
    return context


def _no_password() -> str:
    raise ValueError("the TLS key is locked by a password: give one that is not")
