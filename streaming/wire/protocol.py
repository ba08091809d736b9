"""Messages as msgpack and back, checked. No sockets, no clocks.

All messages of ``facodec.v1``, and those of ``facodec.v2`` that hold no media
(:mod:`streaming.wire.framing`): each is a msgpack map with the key ``type``. Both sides use
:func:`encode`; a server reads with :func:`decode_client`, a client with :func:`decode_server`.
Unknown fields are ignored, unknown types are a :class:`ProtocolError`. docs/protocol.md explains
each field and shows each message byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeAlias, cast

import msgpack

from facodec.config import CODE_LAYERS, HIGHEST_PITCH, LOWEST_PITCH, MIN_LAYERS
from streaming.wire.fields import FieldError, FieldReader
from streaming.wire.messages import (
    CLOSE_CODES,
    COMPACT_SUBPROTOCOL,
    DONE_REASONS,
    FORMATS,
    FORMATS_OF,
    MAX_COUNT,
    MAX_FRAMES_PER_MESSAGE,
    MAX_FRAMES_PER_PACKET,
    MAX_NAME,
    MAX_REDUNDANCY,
    MAX_SHIFT,
    MAX_STAMP_EVERY,
    MAX_TOKEN,
    NOISE_BYTES,
    PCM_FORMATS,
    PRESENCE_STATES,
    REPLAYS,
    ROLES,
    STAMP_EVERY,
    SUBPROTOCOL,
    TYPE_NAMES,
    VERSION,
    VERSIONS,
    VOICE_ESTIMATE_BYTES,
    VOICE_EXACT_BYTES,
    VOICE_FORMS,
    Audio,
    ClientMessage,
    Clock,
    Codes,
    Done,
    DoneReason,
    End,
    Error,
    Format,
    Hello,
    LatencyInfo,
    Limits,
    Message,
    Noise,
    PcmFormat,
    Presence,
    PresenceState,
    ProtocolError,
    Ready,
    Repeat,
    Replay,
    Role,
    ServerMessage,
    Stamps,
    Voice,
    VoiceForm,
    codes_size,
    exact_voice,
    voice_vector,
)
from streaming.wire.pcm import pcm_from_bytes, pcm_to_bytes
from streaming.wire.shape import check_shape

__all__ = [
    "CLOSE_CODES",
    "COMPACT_SUBPROTOCOL",
    "DONE_REASONS",
    "FORMATS",
    "FORMATS_OF",
    "MAX_COUNT",
    "MAX_FRAMES_PER_MESSAGE",
    "MAX_FRAMES_PER_PACKET",
    "MAX_NAME",
    "MAX_REDUNDANCY",
    "MAX_SHIFT",
    "MAX_STAMP_EVERY",
    "MAX_TOKEN",
    "NOISE_BYTES",
    "PCM_FORMATS",
    "PRESENCE_STATES",
    "REPLAYS",
    "ROLES",
    "STAMP_EVERY",
    "SUBPROTOCOL",
    "TYPE_NAMES",
    "VERSION",
    "VERSIONS",
    "VOICE_ESTIMATE_BYTES",
    "VOICE_EXACT_BYTES",
    "VOICE_FORMS",
    "Audio",
    "ClientMessage",
    "Clock",
    "Codes",
    "Done",
    "DoneReason",
    "End",
    "Error",
    "Format",
    "Hello",
    "LatencyInfo",
    "Limits",
    "Message",
    "Noise",
    "PcmFormat",
    "Presence",
    "PresenceState",
    "ProtocolError",
    "Ready",
    "Repeat",
    "Replay",
    "Role",
    "ServerMessage",
    "Stamps",
    "Voice",
    "VoiceForm",
    "codes_size",
    "decode_client",
    "decode_server",
    "encode",
    "exact_voice",
    "pcm_from_bytes",
    "pcm_to_bytes",
    "voice_vector",
]


def encode(message: Message) -> bytes:
    """The message as msgpack; fields that are None are left out."""
    return cast(bytes, msgpack.packb({"type": TYPE_NAMES[type(message)], **_plain(message)}))


def decode_client(data: bytes, version: int = VERSION) -> ClientMessage:
    """Decodes a client's message. Raises ProtocolError for anything a client may not send."""
    message = cast(ClientMessage, _decode(data, _CLIENT_READERS))
    if isinstance(message, Hello) and message.version != version:
        raise ProtocolError(
            "bad-version", f"expected version {version}, got version {message.version}"
        )
    return message


def decode_server(data: bytes) -> ServerMessage:
    """Decodes a server's message. Raises ProtocolError for anything a server may not send."""
    return cast(ServerMessage, _decode(data, _SERVER_READERS))


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass as a map of msgpack values, without the fields that are None."""
    found = {}
    for name in _field_names(value.__class__):
        item = getattr(value, name)
        if item is not None:
            found[name] = _plain(item) if is_dataclass(item) else item
    return found


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


_Reader: TypeAlias = Callable[[FieldReader], Message]


def _decode(data: bytes, readers: Mapping[str, _Reader]) -> Message:
    check_shape(data)
    try:
        value = msgpack.unpackb(data, max_ext_len=0)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise ProtocolError("bad-message", f"expected one msgpack value: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise ProtocolError("bad-message", "expected a msgpack map with a string 'type'")
    kind = value["type"]
    if kind not in readers:
        raise ProtocolError(
            "unknown-type",
            f"unknown message type {kind[:MAX_NAME]!r}: expected {', '.join(readers)}",
        )
    try:
        return readers[kind](FieldReader(kind, value))
    except FieldError as error:
        raise ProtocolError("bad-field", str(error)) from error


def _read_hello(get: FieldReader) -> Hello:
    hello = Hello(
        role=cast(Role, get.choice("role", ROLES)),
        input=cast("Format | None", get.optional(get.choice, "input", FORMATS)),
        output=cast("Format | None", get.optional(get.choice, "output", FORMATS)),
        pcm=cast(PcmFormat, get.optional(get.choice, "pcm", PCM_FORMATS) or "f32"),
        model=get.optional(get.text, "model", MAX_NAME),
        voice=_read_named_voice(get, "voice"),
        room=get.optional(get.name, "room"),
        layers=get.integer("layers", MIN_LAYERS, CODE_LAYERS, default=CODE_LAYERS),
        frames_per_packet=get.integer("frames_per_packet", 1, MAX_FRAMES_PER_PACKET, default=1),
        token=get.optional(get.text, "token", MAX_TOKEN),
        resume=get.optional(get.text, "resume", MAX_TOKEN),
        seed=get.integer("seed", 0, 2**31 - 1, default=0),
        pitch=get.optional(get.between, "pitch", LOWEST_PITCH, HIGHEST_PITCH),
        talker=_read_named_voice(get, "talker"),
        identity=get.optional(get.identity, "identity"),
        version=get.integer("version", 0, MAX_COUNT),
        voices=_read_voice_form(get),
        stamps=get.optional(get.integer, "stamps", 1, MAX_STAMP_EVERY),
        coder=get.optional(get.text, "coder", MAX_NAME),
        pauses=get.optional(get.truth, "pauses"),
        live=get.optional(get.truth, "live"),
        redundancy=get.optional(get.integer, "redundancy", 1, MAX_REDUNDANCY),
        fewer_layers=get.optional(get.truth, "fewer_layers"),
        replay=_read_replay(get),
        received=_read_received(get),
        keep=get.optional(get.name, "keep"),
    )
    hello.formats()
    return hello


def _read_voice_form(get: FieldReader) -> VoiceForm | None:
    return cast("VoiceForm | None", get.optional(get.choice, "voices", VOICE_FORMS))


def _read_replay(get: FieldReader) -> Replay | None:
    return cast("Replay | None", get.optional(get.choice, "replay", REPLAYS))


def _read_received(get: FieldReader) -> int | None:
    return get.optional(get.integer, "received", 0, MAX_COUNT)


def _read_named_voice(get: FieldReader, name: str) -> bytes | str | None:
    value = get.optional(get.name_or_data, name, VOICE_EXACT_BYTES)
    return _exact(f"hello's {name}", value) if isinstance(value, bytes) else value


def _exact(what: str, data: bytes) -> bytes:
    if len(data) != VOICE_EXACT_BYTES:
        raise ProtocolError(
            "bad-voice", f"expected {what} of {VOICE_EXACT_BYTES} bytes, got {len(data)}"
        )
    voice_vector(data)
    return data


def _read_stamps(get: FieldReader) -> Stamps:
    return Stamps(
        t=get.optional(get.number, "t"),
        queue=get.number("queue", default=0.0),
        encode=get.number("encode", default=0.0),
        decode=get.number("decode", default=0.0),
    )


def _read_optional_stamps(get: FieldReader) -> Stamps | None:
    inner = get.optional(get.record, "stamps")
    return None if inner is None else _read_stamps(inner)


def _read_audio(get: FieldReader) -> Audio:
    return Audio(
        seq=get.integer("seq", 0, MAX_COUNT),
        data=get.data("data"),
        t=get.optional(get.number, "t"),
        stamps=_read_optional_stamps(get),
    )


def _read_codes(get: FieldReader) -> Codes:
    return Codes(
        seq=get.integer("seq", 0, MAX_COUNT),
        n=get.integer("n", 1, MAX_FRAMES_PER_MESSAGE),
        data=get.data("data"),
        t=get.optional(get.number, "t"),
        stamps=_read_optional_stamps(get),
    )


def _read_voice(get: FieldReader) -> Voice:
    voice = Voice(
        get.data("data"),
        get.optional(get.identity, "identity"),
        get.optional(get.between, "alike", -1.0, 1.0),
    )
    voice.vector()
    return voice


def _read_wanted_voice(get: FieldReader) -> Voice:
    voice = Voice(
        get.name_or_data("data", VOICE_EXACT_BYTES),
        get.optional(get.identity, "identity"),
        shift=get.optional(get.between, "shift", -MAX_SHIFT, MAX_SHIFT),
    )
    if isinstance(voice.data, bytes):
        voice.vector()
    return voice


def _read_clock(get: FieldReader) -> Clock:
    t1 = get.optional(get.number, "t1")
    return Clock(get.number("t0"), t1, _read_received(get))


def _read_presence(get: FieldReader) -> Presence:
    return Presence(cast(PresenceState, get.choice("publisher", PRESENCE_STATES)))


def _read_end(get: FieldReader) -> End:
    return End()


def _read_ready(get: FieldReader) -> Ready:
    latency, limits = get.record("latency"), get.record("limits")
    return Ready(
        version=get.integer("version", 0, MAX_COUNT),
        session=get.text("session", MAX_TOKEN),
        model=get.text("model", MAX_TOKEN),
        sample_rate=get.integer("sample_rate", 1, MAX_COUNT),
        hop=get.integer("hop", 1, MAX_COUNT),
        layers=get.integer("layers", MIN_LAYERS, CODE_LAYERS),
        latency=LatencyInfo(
            encoder=latency.integer("encoder", 0, MAX_COUNT),
            decoder=latency.integer("decoder", 0, MAX_COUNT),
        ),
        limits=Limits(
            max_message=limits.integer("max_message", 0, MAX_COUNT),
            max_frames=limits.integer("max_frames", 0, MAX_COUNT),
            backlog=limits.number("backlog"),
            idle_timeout=limits.number("idle_timeout"),
        ),
        resume=get.optional(get.text, "resume", MAX_TOKEN),
        identity=get.optional(get.identity, "identity"),
        voices=_read_voice_form(get),
        coder=get.optional(get.text, "coder", MAX_NAME),
        pauses=get.optional(get.truth, "pauses"),
        redundancy=get.optional(get.integer, "redundancy", 1, MAX_REDUNDANCY),
        fewer_layers=get.optional(get.truth, "fewer_layers"),
        first=get.optional(get.integer, "first", 0, MAX_COUNT),
        replay=_read_replay(get),
        received=_read_received(get),
    )


def _read_error(get: FieldReader) -> Error:
    return Error(code=get.text("code", MAX_NAME), message=get.text("message", 4096))


def _read_done(get: FieldReader) -> Done:
    talker = get.optional(get.data, "talker")
    return Done(
        frames_in=get.integer("frames_in", 0, MAX_COUNT),
        frames_out=get.integer("frames_out", 0, MAX_COUNT),
        bytes_in=get.integer("bytes_in", 0, MAX_COUNT, default=0),
        bytes_out=get.integer("bytes_out", 0, MAX_COUNT, default=0),
        encode=get.number("encode", default=0.0),
        decode=get.number("decode", default=0.0),
        queue_max=get.number("queue_max", default=0.0),
        reason=cast(DoneReason, get.optional(get.choice, "reason", DONE_REASONS) or "end"),
        talker=None if talker is None else _exact("done's talker", talker),
        pitch=get.optional(get.between, "pitch", LOWEST_PITCH, HIGHEST_PITCH),
    )


_MEDIA_READERS: Mapping[str, _Reader] = {
    "audio": _read_audio,
    "codes": _read_codes,
    "voice": _read_voice,
    "clock": _read_clock,
}
_CLIENT_READERS: Mapping[str, _Reader] = {
    "hello": _read_hello,
    **_MEDIA_READERS,
    "voice": _read_wanted_voice,
    "end": _read_end,
}
_SERVER_READERS: Mapping[str, _Reader] = {
    "ready": _read_ready,
    **_MEDIA_READERS,
    "presence": _read_presence,
    "error": _read_error,
    "done": _read_done,
}
