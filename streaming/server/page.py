"""The page that a server shows to browsers: the files of one folder, read once, and nothing else.

It is the same for everybody and holds no secret, so no token is asked for; sound needs one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from websockets.datastructures import Headers
from websockets.http11 import Response

from streaming.server.http import Asked, Refusal

START = "index.html"
"""The file that stands for the folder."""
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".flac": "audio/flac",
    ".wasm": "application/wasm",
}
LARGEST = 1 << 20
"""Bytes of a file; all are held in memory."""
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; media-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
SAFETY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}
"""Headers of safety with every file: nothing from elsewhere, nobody around it."""
NO_CACHE = "no-cache"
"""Cache-Control of what may be another file tomorrow: a browser asks whether it is."""


@dataclass(frozen=True)
class File:
    """``data`` of a ``kind``, as a browser names kinds; ``cache``: its Cache-Control."""

    data: bytes
    kind: str
    etag: str
    cache: str

    @classmethod
    def of(cls, data: bytes, kind: str, cache: str = NO_CACHE) -> File:
        return cls(data, kind, f'"{hashlib.sha256(data).hexdigest()[:32]}"', cache)

    def answer(self, asked: Asked) -> Response | Refusal:
        """The file, or 304 where the browser still has it."""
        if asked.method not in ("GET", "HEAD"):
            return Refusal(405, "only GET and HEAD here", {"Allow": "GET, HEAD"})
        fields: Mapping[str, str] = {
            **SAFETY,
            "ETag": self.etag,
            "Cache-Control": self.cache,
            "Connection": "close",
        }
        if self.etag in asked.known_tags:
            return Response(304, "Not Modified", Headers(fields), b"")
        fields = {**fields, "Content-Type": self.kind, "Content-Length": str(len(self.data))}
        body = b"" if asked.method == "HEAD" else self.data
        return Response(200, "OK", Headers(fields), body)


class Page:
    """The files of ``folder`` whose kind is known, by the path they are asked for.

    Raises ValueError for a folder without a start, or a file that is too large."""

    def __init__(self, folder: str) -> None:
        self._files = _read(Path(folder))
        if "/" not in self._files:
            raise ValueError(f"expected {START} in the folder of the page, got none in {folder}")

    def has(self, asked: Asked) -> bool:
        """Whether a request asks for one of the files."""
        return not asked.is_upgrade and asked.path in self._files

    def is_visit(self, asked: Asked) -> bool:
        """Whether somebody follows a link to the page, from wherever: the page that it stands on
        cannot read what comes."""
        return asked.navigates and asked.path == "/" and self.has(asked)

    def answer(self, asked: Asked) -> Response | Refusal:
        """The file that :meth:`has` found, or 304 where the browser still has it."""
        return self._files[asked.path].answer(asked)


def _read(folder: Path) -> dict[str, File]:
    files = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix not in KINDS or not path.is_file():
            continue
        data = path.read_bytes()
        if len(data) > LARGEST:
            raise ValueError(f"expected at most {LARGEST} bytes in {path}, got {len(data)}")
        place = "/" if path.name == START else f"/{path.name}"
        files[place] = File.of(data, KINDS[path.suffix])
    return files
