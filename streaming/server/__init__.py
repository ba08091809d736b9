"""The server: who may connect, and what becomes of a connection."""

from __future__ import annotations

from facodec import renamed

__getattr__ = renamed.attributes(
    __name__,
    {
        "Server": "streaming.server.listening.Server",
        "run": "streaming.server.listening.run",
    },
)
