"""Media messages of ``facodec.v2``, byte by byte.

The first byte tells the kind: 1 to 80 is codes, and so many frames of them; 0x70 to 0x77 is 1 to 8
frames with the repeat of earlier ones; 0x64 to 0x66 says that codes of fewer layers follow; 0x80
and above is no media message but a msgpack map.
Numbers are little-endian, sound lies at a multiple of four bytes, and stamps come last, so that a
payload may be taken as it lies. docs/protocol.md shows each.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from facodec.bitstream import packed_size
from facodec.config import CODE_LAYERS, MIN_LAYERS, SAMPLE_RATE
from streaming.wire.messages import (
    MAX_FRAMES_PER_MESSAGE,
    NOISE_BYTES,
    ProtocolError,
    Repeat,
    Stamps,
)

REPEATING, MOST_REPEATED, FURTHEST = 0x70, 8, 255
"""First byte of a message of one frame with a repeat; most frames that have one or are repeated;
most frames from the first of these to the message's own."""
AUDIO, ESTIMATE, CHOSEN, NOISE = 0x60, 0x61, 0x62, 0x63
FEWER = 0x64
"""First byte before a message of codes of three layers, the next ones before four and five."""
MSGPACK = 0x80
"""First byte from which on a message is msgpack."""
SEQ_STEPS = 1 << 15
"""Frames after which the sequence numbers on the wire start again: 410 s."""
STAMPED = SEQ_STEPS
"""Bit beside the sequence number that says that stamps follow the payload."""
TICK = 4 / SAMPLE_RATE
"""Seconds of a unit of ``t``: four samples."""
TICKS = 1 << 16
"""Units after which ``t`` starts again: 16.4 s."""
EARLY = 1.0
"""Seconds that a stamp may seem to come from the future: two clocks never agree."""
_CODES, _AUDIO, _NOISE = struct.Struct("<BH"), struct.Struct("<BxH"), struct.Struct("<BH")
_REPEATING = struct.Struct("<BHBB")
_SIZE_BITS = 5
"""Bits for the bytes of a repeat, 30 at most, in the byte that tells its frames too."""
_UP, _DOWN = struct.Struct("<H"), struct.Struct("<HBBB")


@dataclass(frozen=True)
class Media:
    """A media message taken apart. ``kind``: :data:`AUDIO`, :data:`NOISE`, or 0 for ``frames``
    frames of codes; ``seq``: the index of its frame, modulo :data:`SEQ_STEPS`; ``repeat``: of
    frames before them; ``layers``: where these are fewer than the session's."""

    kind: int
    frames: int
    seq: int
    data: bytes
    stamps: bytes
    repeat: Repeat | None = None
    layers: int | None = None


def join_codes(
    frames: int,
    seq: int,
    data: bytes,
    stamps: bytes,
    repeat: Repeat | None = None,
    layers: int | None = None,
) -> bytes:
    """A message of codes. Three bytes beside them, with a repeat five, and one more where their
    ``layers`` are fewer than the session's."""
    number = _numbered(seq, stamps)
    if layers is not None:
        said = bytes([FEWER + layers - MIN_LAYERS])
        return said + join_codes(frames, seq, data, stamps, repeat)
    if repeat is None:
        return _CODES.pack(frames, number) + data + stamps
    sizes = repeat.n - 1 << _SIZE_BITS | len(repeat.data)
    head = _REPEATING.pack(REPEATING + frames - 1, number, repeat.back, sizes)
    return head + repeat.data + data + stamps


def join_audio(seq: int, data: bytes, stamps: bytes) -> bytes:
    """A message of sound, which begins at its fifth byte."""
    return _AUDIO.pack(AUDIO, _numbered(seq, stamps)) + data + stamps


def join_noise(seq: int, data: bytes) -> bytes:
    """A message in place of all frames before ``seq`` that were not sent."""
    return _NOISE.pack(NOISE, seq % SEQ_STEPS) + data


def is_codes(message: bytes) -> bool:
    """Whether a message holds codes, with a repeat or without, of all layers or fewer."""
    kind = message[0] if message else MSGPACK
    if _says_layers(kind):
        return len(message) > 1 and not _says_layers(message[1]) and is_codes(message[1:2])
    return 1 <= kind <= MAX_FRAMES_PER_MESSAGE or REPEATING <= kind < REPEATING + MOST_REPEATED


def take_apart(message: bytes, *, up: bool) -> Media:
    """A message of codes, sound or noise. ``up``: from a client, whose stamps are shorter.
    Raises ProtocolError."""
    kind = message[0]
    if _says_layers(kind):
        if not is_codes(message):
            raise ProtocolError("unknown-type", f"expected codes after byte {kind:#04x}")
        return replace(take_apart(message[1:], up=up), layers=kind - FEWER + MIN_LAYERS)
    if 1 <= kind <= MAX_FRAMES_PER_MESSAGE:
        head, frames = _CODES, kind
    elif REPEATING <= kind < REPEATING + MOST_REPEATED:
        head, frames = _REPEATING, kind - REPEATING + 1
    elif kind in (AUDIO, NOISE):
        head, frames = _AUDIO if kind == AUDIO else _NOISE, 0
    else:
        raise ProtocolError("unknown-type", f"no media message begins with byte {kind:#04x}")
    if len(message) < head.size:
        raise _cut_short(head.size, message)
    _, number, *repeated = head.unpack_from(message)
    size = (_UP if up else _DOWN).size if number & STAMPED else 0
    end = len(message) - size
    if end < head.size:
        raise _cut_short(head.size + size, message)
    repeat = _take_repeat(repeated, message[head.size : end]) if repeated else None
    begin = head.size + (0 if repeat is None else len(repeat.data))
    found = Media(
        0 if frames else kind,
        frames,
        number % SEQ_STEPS,
        message[begin:end],
        message[end:],
        repeat,
    )
    if kind == NOISE and (size or len(found.data) not in (0, NOISE_BYTES)):
        raise ProtocolError(
            "bad-size",
            f"expected a pause of 3 bytes, or {3 + NOISE_BYTES} with its noise, got {len(message)}",
        )
    return found


def whole_number(low: int, least: int, steps: int) -> int:
    """The number from ``least`` on that is ``low`` modulo ``steps``."""
    return least + (low - least) % steps


def join_time(t: float | None) -> bytes:
    """A client's stamp, s on the server's clock; nothing for None."""
    return b"" if t is None else _UP.pack(round(t / TICK) % TICKS)


def take_time(data: bytes, now: float) -> float | None:
    """The latest time that a stamp can mean at ``now``, s; None for no stamp."""
    return _past(_UP.unpack(data)[0], now) if data else None


def join_stamps(stamps: Stamps | None) -> bytes:
    """A server's stamps; nothing for None, or where nobody stamped the input."""
    if stamps is None or stamps.t is None:
        return b""
    parts = map(short_duration, (stamps.queue, stamps.encode, stamps.decode))
    return _DOWN.pack(round(stamps.t / TICK) % TICKS, *parts)


def take_stamps(data: bytes, now: float | None) -> Stamps | None:
    """Inverse of :func:`join_stamps`; without a clock, ``t`` cannot be told."""
    if not data:
        return None
    t, *parts = _DOWN.unpack(data)
    return Stamps(None if now is None else _past(t, now), *map(duration, parts))


def short_duration(seconds: float) -> int:
    """A duration in one byte, to 3 %: samples up to 15, above them four bits and an exponent."""
    samples = min(max(0, round(seconds * SAMPLE_RATE)), LONGEST)
    exponent = max(0, samples.bit_length() - 5)
    samples += (1 << exponent) >> 1  # to the nearest
    exponent = max(0, samples.bit_length() - 5)
    mantissa = samples >> exponent
    return min(255, mantissa if mantissa < 16 else 16 * (exponent + 1) + mantissa - 16)


def duration(byte: int) -> float:
    """Inverse of :func:`short_duration`, seconds."""
    samples = byte if byte < 16 else (16 + byte % 16) << (byte // 16 - 1)
    return samples / SAMPLE_RATE


LONGEST = 31 << 14
"""Samples of the longest duration in a byte: 32 s."""


def _take_repeat(told: list[int], data: bytes) -> Repeat:
    """The repeat at the beginning of ``data``. ``told``: how far back it lies, and its sizes."""
    back, sizes = told
    count, size = (sizes >> _SIZE_BITS) + 1, sizes % (1 << _SIZE_BITS)
    if count > back:
        raise ProtocolError(
            "bad-seq",
            f"expected a repeat of earlier frames, got {count} from {back} before its own on",
        )
    most = packed_size(MIN_LAYERS, count)
    if size > most:
        raise ProtocolError(
            "bad-size", f"expected at most {most} bytes for a repeat of {count} frames, got {size}"
        )
    if size > len(data):
        raise ProtocolError(
            "bad-size", f"expected a repeat of {size} bytes, got {len(data)} bytes of media"
        )
    return Repeat(back, count, data[:size])


def _says_layers(kind: int) -> bool:
    return FEWER <= kind < FEWER + CODE_LAYERS - MIN_LAYERS


def _numbered(seq: int, stamps: bytes) -> int:
    return seq % SEQ_STEPS | (STAMPED if stamps else 0)


def _past(low: int, now: float) -> float:
    latest = int((now + EARLY) / TICK)
    return (latest - (latest - low) % TICKS) * TICK


def _cut_short(wanted: int, message: bytes) -> ProtocolError:
    return ProtocolError(
        "bad-size", f"expected a media message of {wanted} bytes or more, got {len(message)}"
    )
