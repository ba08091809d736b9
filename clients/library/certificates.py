"""Certificates by which a client believes that a ``wss://`` server is who it says."""

from __future__ import annotations

import ssl
from pathlib import Path

from clients.errors import UsageError
from facodec.files import need_plain
from facodec.reasons import FileError, shown, why


def client_context(url: str, ca: str | None) -> ssl.SSLContext | None:
    """The TLS context for a server's address; None for ``ws://``. ``ca``: a file with the only
    certificates, as PEM, that are trusted, else the system's are. Raises UsageError."""
    if not url.lower().startswith(("wss:", "https:", "quic:")):
        return None
    try:
        if ca is not None:
            need_plain(Path(ca))
            return ssl.create_default_context(cafile=ca)
        return ssl.create_default_context()
    except ssl.SSLError:
        raise UsageError(f"{shown(ca)} holds no certificate in PEM form") from None
    except OSError as error:
        raise UsageError(f"cannot read the certificates in {shown(ca)}: {why(error)}") from None
    except FileError as error:
        raise UsageError(str(error)) from None
