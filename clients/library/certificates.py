"""Certificates by which a client believes that a ``wss://`` server is who it says."""

from __future__ import annotations

import ssl

from clients.errors import UsageError


def client_context(url: str, ca: str | None) -> ssl.SSLContext | None:
    """The TLS context for a server's address; None for ``ws://``. ``ca``: a file with the only
    certificates, as PEM, that are trusted, else the system's are. Raises UsageError."""
    if not url.lower().startswith(("wss:", "https:", "quic:")):
        return None
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise UsageError(f"{ca} holds no certificate in PEM form") from None
    except OSError as error:
        raise UsageError(f"cannot read the certificates in {ca}: {error.strerror}") from None
