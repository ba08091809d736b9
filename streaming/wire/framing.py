"""Messages to bytes and back for one connection, in the version that both ends agreed on.

``facodec.v1`` puts every message in msgpack; ``facodec.v2`` keeps that for control and puts media
in a few bytes of their own (:mod:`streaming.wire.binary`), whose short numbers only make sense in
the order in which they come: each end keeps one :class:`Framing` for as long as it is connected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeGuard

from streaming.wire import binary, protocol
from streaming.wire.compact import COMPACT_BYTES, compact_voice, voice_from_compact
from streaming.wire.protocol import (
    Audio,
    ClientMessage,
    Codes,
    Message,
    Noise,
    ProtocolError,
    Ready,
    ServerMessage,
    Stamps,
    Voice,
)

_Times: TypeAlias = tuple[float | None, Stamps | None]
"""A client's stamp and a server's stamps, of which a message has one at most."""
MEDIA = (Audio, Codes)
IN_MSGPACK = (*MEDIA, Noise)
"""Messages of version 1, or of none, that version 2 has other bytes for."""


def framing_of(subprotocol: str | None, *, lossy: bool = False) -> Framing:
    """The framing of a subprotocol, by default the first one's. ``lossy``: packets of codes may be
    lost or overtake each other on the way."""
    version = protocol.VERSIONS.get(subprotocol or protocol.SUBPROTOCOL, protocol.VERSION)
    return CompactFraming(lossy=lossy) if version > protocol.VERSION else Framing()


class Framing:
    """Version 1: all is msgpack, nothing depends on what came before."""

    version = protocol.VERSION
    lossy = False
    """Whether packets of codes may be lost or overtake each other."""
    compact_voices = False
    """Whether voices are sent in their compact form from here on."""

    def to_server(self, message: ClientMessage) -> bytes:
        """A client's message."""
        return protocol.encode(message)

    def to_client(self, message: ServerMessage) -> bytes:
        """A server's message."""
        return protocol.encode(message)

    def from_client(self, data: bytes, now: float) -> ClientMessage:
        """Decodes a client's message. ``now``: the server's clock, s. Raises ProtocolError for
        anything a client may not send."""
        return protocol.decode_client(data)

    def from_server(self, data: bytes, now: float | None) -> ServerMessage:
        """Decodes a server's message. ``now``: its clock, s, None where it is not known. Raises
        ProtocolError for anything a server may not send."""
        return protocol.decode_server(data)


class CompactFraming(Framing):
    """Version 2. There is one form for each message: sound and codes in msgpack are refused."""

    version = 2

    def __init__(self, *, lossy: bool = False) -> None:
        self._next = 0
        self.lossy = lossy

    def to_server(self, message: ClientMessage) -> bytes:
        stamps = binary.join_time(message.t) if isinstance(message, MEDIA) else b""
        return self._joined(message, stamps)

    def to_client(self, message: ServerMessage) -> bytes:
        stamps = binary.join_stamps(message.stamps) if isinstance(message, MEDIA) else b""
        return self._joined(message, stamps)

    def from_client(self, data: bytes, now: float) -> ClientMessage:
        if _is_msgpack(data):
            message = protocol.decode_client(data, self.version)
            _check_control(message)
            return message
        return self._taken(data, lambda stamps: (binary.take_time(stamps, now), None), up=True)

    def from_server(self, data: bytes, now: float | None) -> ServerMessage:
        if _is_msgpack(data):
            message = protocol.decode_server(data)
            _check_control(message)
            if isinstance(message, Ready) and message.received is None:
                self._next = message.first or 0
            return message
        return self._taken(data, lambda stamps: (None, binary.take_stamps(stamps, now)), up=False)

    def _taken(
        self, data: bytes, times: Callable[[bytes], _Times], *, up: bool
    ) -> Audio | Codes | Noise | Voice:
        """Decodes a message in bytes of this version's own. ``times``: reads what follows it."""
        if data[0] in (binary.ESTIMATE, binary.CHOSEN):
            return _voice(data)
        media = binary.take_apart(data, up=up)
        least = max(0, self._next - binary.SEQ_STEPS // 2) if self.lossy else self._next
        seq = binary.whole_number(media.seq, least, binary.SEQ_STEPS)
        self._next = max(self._next, seq + media.frames)
        if media.kind == binary.NOISE:
            return Noise(seq, media.data)
        t, stamps = times(media.stamps)
        if media.kind == binary.AUDIO:
            return Audio(seq, media.data, t, stamps)
        return Codes(seq, media.frames, media.data, t, stamps, media.repeat, media.layers)

    def _joined(self, message: Message, stamps: bytes) -> bytes:
        """A message's bytes. ``stamps``: what follows it if it is media."""
        if isinstance(message, Codes):
            return binary.join_codes(
                message.n, message.seq, message.data, stamps, message.repeat, message.layers
            )
        if isinstance(message, Audio):
            return binary.join_audio(message.seq, message.data, stamps)
        if isinstance(message, Noise):
            return binary.join_noise(message.seq, message.data)
        if self.compact_voices and _is_timbre(message):
            kind = binary.CHOSEN if message.is_exact else binary.ESTIMATE
            return bytes([kind]) + compact_voice(message.vector())
        return protocol.encode(message)


def _is_msgpack(data: bytes) -> bool:
    """Whether a message is in msgpack, or nothing, of which msgpack says what is wrong."""
    return not data or data[0] >= binary.MSGPACK


def _is_timbre(message: Message) -> TypeGuard[Voice]:
    """Whether it is a timbre and nothing else: more has no place in so few bytes."""
    return (
        isinstance(message, Voice)
        and isinstance(message.data, bytes)
        and message == Voice(message.data)
    )


def _voice(data: bytes) -> Voice:
    if len(data) != 1 + COMPACT_BYTES:
        raise ProtocolError(
            "bad-voice", f"expected a compact voice of {1 + COMPACT_BYTES} bytes, got {len(data)}"
        )
    vector = voice_from_compact(data[1:])
    voice = Voice.exact(vector) if data[0] == binary.CHOSEN else Voice.estimate(vector)
    voice.vector()
    return voice


def _check_control(message: Message) -> None:
    if isinstance(message, IN_MSGPACK):
        kind = protocol.TYPE_NAMES[type(message)]
        raise ProtocolError("unknown-type", f"{kind!r} is no msgpack message in version 2")
