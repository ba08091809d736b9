"""Events of a session on the server, and its totals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from streaming.wire.media import Media, Pause
from streaming.wire.protocol import Hello


@dataclass(frozen=True)
class Opened:
    """The client said hello; answer with :meth:`ServerSession.open` or refuse with an error."""

    hello: Hello


@dataclass(frozen=True)
class Arrived:
    """Media for the model. ``t``: the client's capture stamp, s on its own clock. ``before``: a
    pause that came to its end with it."""

    item: Media
    t: float | None
    before: Pause | None = None


@dataclass(frozen=True)
class Reply:
    """Bytes to send back at once."""

    data: bytes


@dataclass(frozen=True)
class Ended:
    """The client has sent everything."""


Event: TypeAlias = Opened | Arrived | Reply | Ended


@dataclass
class Totals:
    """Totals of a session; see :class:`streaming.wire.protocol.Done`."""

    samples_in: int = 0
    frames_in: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    encode: float = 0.0
    decode: float = 0.0
    queue_max: float = 0.0

    def add(self, queue: float, encode: float, decode: float) -> None:
        """Account for one piece of work; seconds."""
        self.queue_max = max(self.queue_max, queue)
        self.encode += encode
        self.decode += decode
