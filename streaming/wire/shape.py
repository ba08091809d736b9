"""Shape of a msgpack message, counted before it is decoded.

A list of 120,000 numbers takes milliseconds to decode, and one nested as deep fills the stack; no
message of the protocol holds more than a few values, whatever its size. The count walks over the
values' heads alone, so sound costs no more than its length says.
"""

from __future__ import annotations

from streaming.wire.messages import ProtocolError

MAX_VALUES = 256
"""Most values in one message, keys and what is nested included."""

_FIXED = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
"""Bytes after the head of values whose size the head tells."""
_SIZED = {
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip
"""Bytes of the length after the head, and of what else there is, for data and strings."""
_HOLDERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Bytes of the count after the head, and values per count, for lists and maps."""


def check_shape(data: bytes) -> None:
    """Raises ProtocolError("bad-message") for more than :data:`MAX_VALUES` values. What is cut
    short or no msgpack at all is the decoder's to find."""
    at, left, seen, end = 0, 1, 0, len(data)
    while left and at < end:
        head = data[at]
        at += 1
        left -= 1
        seen += 1
        if head < 0x80 or head >= 0xE0:
            pass
        elif head >= 0xA0 and head < 0xC0:
            at += head & 0x1F
        elif head < 0x90:
            left += 2 * (head & 0x0F)
        elif head < 0xA0:
            left += head & 0x0F
        elif head in _FIXED:
            at += _FIXED[head]
        elif head in _SIZED:
            width, extra = _SIZED[head]
            at += width + extra + int.from_bytes(data[at : at + width], "big")
        elif head in _HOLDERS:
            width, values = _HOLDERS[head]
            left += values * int.from_bytes(data[at : at + width], "big")
            at += width
        if seen + left > MAX_VALUES:
            raise ProtocolError(
                "bad-message", f"expected at most {MAX_VALUES} msgpack values, got more"
            )
