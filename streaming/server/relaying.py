"""Which sessions may have codes coded, and pauses left out, without work for the server."""

from __future__ import annotations

from facodec.codec import Codec
from streaming.wire.protocol import Hello


def passes_codes(hello: Hello) -> bool:
    """Whether the codes that come in go out as they are, and to others, if to anybody."""
    is_relay = hello.role in ("publish", "loopback")
    return is_relay and hello.formats()[0] == "codes"


def may_pause(hello: Hello, codec: Codec) -> bool:
    """Whether a client may leave out frames: those of the model say how loud they are, so that
    quiet ones can stand in for them where somebody wants a frame for every hop."""
    return codec.says_level and hello.formats()[0] == "codes"
