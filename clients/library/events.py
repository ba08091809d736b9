"""Events of a session on the client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from clients.library.packets import Packet
from streaming.wire.protocol import Done, Presence, Ready


@dataclass(frozen=True)
class Opened:
    """The server has accepted the hello."""

    ready: Ready


@dataclass(frozen=True)
class Answered:
    """The server has taken in all that was sent before
    :meth:`clients.library.client_session.ClientSession.ask` at ``asked``."""

    asked: float


@dataclass(frozen=True)
class Ended:
    """The server sends nothing more."""

    totals: Done


Event: TypeAlias = Opened | Answered | Ended | Presence | Packet
