"""Sessions that may have their codes coded, and frames left out, at next to no cost to others."""

from __future__ import annotations

from facodec.codec import Codec
from facodec.link.entropy import FrameCoder
from streaming.wire.protocol import Hello


def coder_for(hello: Hello, codec: Codec) -> FrameCoder | None:
    """Coder of a session's codes: always where they go out as they came in, else
    where that takes little time."""
    if "codes" not in hello.formats():
        return None
    relays = hello.role in ("publish", "loopback")
    return codec.coder if relays or codec.coder.is_fast else None


def may_pause(hello: Hello, codec: Codec) -> bool:
    """Whether a client may leave out frames: those of the model say how loud they are, so that
    quiet ones can stand in for them where somebody wants a frame for every hop."""
    return codec.says_level and hello.formats()[0] == "codes"
