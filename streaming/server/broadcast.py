"""Broadcast of a room, and those who take part in it, as rooms see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from facodec.config import Latency
from facodec.identity import ModelIdentity
from facodec.link.entropy import FrameCoder
from streaming.wire.media import Media
from streaming.wire.protocol import DoneReason, Format, PresenceState, ProtocolError, Stamps


@dataclass(frozen=True)
class Broadcast:
    """Description of a publisher's stream: the model and its delay, the layers of each frame, with
    what they are coded, and whether frames may be left out in pauses."""

    model: ModelIdentity
    latency: Latency
    layers: int
    coder: FrameCoder | None = None
    pauses: bool = False


class Listener(Protocol):
    """Someone in a room; called on the event loop."""

    wants: Format

    @property
    def is_away(self) -> bool:
        """Whether its connection was lost, and may come back."""

    @property
    def lags(self) -> bool:
        """Whether much of what it was sent still waits to go out."""

    def on_ready(self, broadcast: Broadcast, first_frame: int) -> None:
        """The room is on; the next frame it gets is ``first_frame``."""

    def on_media(self, item: Media, stamps: Stamps | None) -> None:
        """The next media."""

    def on_presence(self, state: PresenceState) -> None:
        """The publisher's connection was lost, or he is there again."""

    def on_end(self, reason: DoneReason) -> None:
        """The publisher has left and all of it has been delivered."""

    def on_failure(self, error: ProtocolError) -> None:
        """The room broke; nothing follows."""


class Publisher(Protocol):
    """Publisher of a room; called on the event loop. ``owner``: who he is, by address and token."""

    owner: tuple[str, str | None]

    @property
    def is_away(self) -> bool:
        """Whether his connection was lost, and may come back."""

    def give_up(self) -> None:
        """Ends one that is away, and the room with it."""

    def on_replaced(self) -> None:
        """The room is another connection's from now on; this one is over."""

    def compute_sound(self) -> None:
        """Somebody hears the room as sound. Raises ProtocolError where there is no place for it."""

    def stop_sound(self) -> None:
        """Nobody hears the room as sound any more; safe to call again."""
