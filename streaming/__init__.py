"""The runtime of the codec: protocol, sessions, engine, rooms, playout and server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facodec import __version__, lazy

if TYPE_CHECKING:
    from streaming.playout.buffer import PlayoutBuffer, PlayoutSettings
    from streaming.server.listening import Server
    from streaming.server.settings import ServerSettings
    from streaming.wire.protocol import ProtocolError

__all__ = [
    "PlayoutBuffer",
    "PlayoutSettings",
    "ProtocolError",
    "Server",
    "ServerSettings",
    "__version__",
]

__getattr__ = lazy.attributes(
    __name__,
    {
        "PlayoutBuffer": "streaming.playout.buffer",
        "PlayoutSettings": "streaming.playout.buffer",
        "ProtocolError": "streaming.wire.protocol",
        "Server": "streaming.server.listening",
        "ServerSettings": "streaming.server.settings",
    },
)
