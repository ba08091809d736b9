"""Packets that a session hands out, and its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from streaming.wire.protocol import Stamps

NO_STAMPS = Stamps()


@dataclass(frozen=True)
class Times:
    """Times at which a packet's newest input was captured and sent, and at which it arrived: our
    monotonic clock, s. ``sent`` is None where another client sent it. ``stamps``: what the server
    measured."""

    arrived: float
    captured: float | None = None
    sent: float | None = None
    stamps: Stamps = NO_STAMPS


@dataclass(frozen=True, eq=False)
class AudioPacket:
    """Samples float32 (n,) from hop ``seq`` on."""

    seq: int
    samples: np.ndarray
    times: Times


@dataclass(frozen=True, eq=False)
class CodesPacket:
    """Codes int64 (K, n) from frame ``seq`` on. ``layers``: that came, where these are fewer; what
    is beyond them was held from before. ``repaired``: the packet was lost, and these are the repeat
    of its first three."""

    seq: int
    codes: np.ndarray
    times: Times
    repaired: bool = False
    layers: int | None = None


@dataclass(frozen=True, eq=False)
class VoicePacket:
    """Timbre float32 (256,) that holds from here on. ``exact``: given, not estimated. ``alike``: of
    an enrolment, how alike its parts are, see :class:`streaming.wire.protocol.Voice`."""

    timbre: np.ndarray
    exact: bool
    alike: float | None = None


@dataclass(frozen=True, eq=False)
class PausePacket:
    """``frames`` frames from ``seq`` on that were not sent, as nobody speaks in them. ``noise``:
    how what follows them sounds (:class:`facodec.link.comfort.Description`), empty where that is
    as before. Only where a session asked for pauses."""

    seq: int
    frames: int
    noise: bytes


@dataclass(frozen=True, eq=False)
class LostPacket:
    """``frames`` frames from ``seq`` on that were lost on the way, for good. Only over QUIC."""

    seq: int
    frames: int


Packet: TypeAlias = AudioPacket | CodesPacket | VoicePacket | PausePacket | LostPacket


@dataclass
class WireCount:
    """Bytes and messages both ways: WebSocket payloads, without the headers beneath them; and the
    bits of sound and codes in them, without the messages around these."""

    bytes_up: int = 0
    bytes_down: int = 0
    messages_up: int = 0
    messages_down: int = 0
    sound_bits_up: int = 0
    sound_bits_down: int = 0
    codes_bits_up: int = 0
    codes_bits_down: int = 0
