"""TLS of a server: its certificate and key."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from facodec.files import need_plain
from facodec.reasons import shown, why
from streaming.server.settings import ServerSettings

DAYS = 365
"""Days that an own certificate is good for."""
LEFT = 86_400
"""Seconds that a kept certificate still has to be good for, or another is made."""
NOWHERE = ("192.0.2.1", 9)
"""An address that only exists in documents (RFC 5737); nothing is sent there."""


def server_context(settings: ServerSettings) -> ssl.SSLContext:
    """The context for the certificate that the settings name. Raises ValueError with a sentence
    for files that are missing, damaged, locked or do not fit each other."""
    cert, key = settings.tls_cert or "", settings.tls_key
    named = f"certificate {shown(cert)}" + (f" and key {shown(key)}" if key else "")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for path in filter(None, (cert, key)):
        need_plain(Path(path))

    def no_password() -> str:
        raise ValueError(f"the TLS key in {shown(key or cert)} is locked: give one that is not")

    try:
        context.load_cert_chain(cert, key, password=no_password)
    except ssl.SSLError as error:
        if error.reason in (None, "NO_START_LINE"):
            reason = "expected a PEM file with a certificate and its private key"
        else:
            reason = error.reason.replace("_", " ").lower()
        raise ValueError(f"cannot use {named} for TLS: {reason}") from None
    except OSError as error:
        raise ValueError(f"cannot read {named}: {why(error)}") from None
    return context


def own_names() -> list[str]:
    """Names and addresses by which other machines may call this one."""
    name = socket.gethostname().lower().partition(".")[0]
    found = ["localhost", name, f"{name}.local", "127.0.0.1", "::1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(NOWHERE)
            found.append(probe.getsockname()[0])
        except OSError:
            pass  # no network, so no address there
    return list(dict.fromkeys(found))


def own_certificate(folder: Path, names: Sequence[str]) -> Path:
    """A PEM file with a self-signed certificate for these names and addresses and its key, kept in
    ``folder`` and made by ``openssl`` where there is none that is good. Raises ValueError."""
    path = folder / f"self-signed-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}.pem"
    check = ["openssl", "x509", "-in", str(path), "-noout", "-checkend", str(LEFT)]
    try:
        if path.exists() and subprocess.run(check, capture_output=True).returncode == 0:
            return path
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        fresh.touch(mode=0o600)
        made = subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:P-256", "-nodes", "-days", str(DAYS)),
                *("-keyout", str(fresh), "-out", f"{fresh}.cert", "-subj", f"/CN={names[0]}"),
                *("-addext", f"subjectAltName={','.join(map(_alternative, names))}"),
            ],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise ValueError(f"openssl made no certificate: {made.stderr.strip()[-200:]}")
        certificate = Path(f"{fresh}.cert")
        fresh.write_text(fresh.read_text() + certificate.read_text())
        certificate.unlink()
        fresh.replace(path)
    except FileNotFoundError:
        raise ValueError("a certificate of our own is made with openssl: install that") from None
    except OSError as error:
        raise ValueError(f"cannot keep a certificate in {folder}: {error.strerror}") from None
    return path


def fingerprint(path: Path) -> str:
    """SHA-256 of the certificate in a PEM file, as browsers show it."""
    text = path.read_text()
    data = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") :])
    return hashlib.sha256(data).digest().hex(":").upper()


def _alternative(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"
