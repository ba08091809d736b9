"""Cuts a stream of media into numbered packets of a fixed number of frames."""

from __future__ import annotations

import numpy as np

from facodec import bitstream
from facodec.config import HOP
from streaming.wire import protocol
from streaming.wire.media import Frames, Media, Sound, Timbre
from streaming.wire.protocol import Audio, Codes, PcmFormat, Stamps, Voice


class Packetizer:
    """``size`` frames a packet (the last may be shorter), numbered from ``first_frame`` on.

    It holds back less than ``size`` frames, so it is bounded by construction.
    """

    def __init__(self, size: int, pcm: PcmFormat, first_frame: int = 0) -> None:
        self.frames_out = 0
        self._size = size
        self._pcm: PcmFormat = pcm
        self._seq = first_frame
        self._held: Sound | Frames | None = None
        self._stamps: Stamps | None = None

    def add(self, item: Media, stamps: Stamps | None) -> list[tuple[bytes, int]]:
        """(message, frames in it) for every packet the item completes. Sound comes in whole
        hops. A timbre holds for what follows, so it sends what came before it first."""
        if isinstance(item, Timbre):
            voice = (Voice.exact if item.exact else Voice.estimate)(item.vector)
            return [*self.flush(), (protocol.encode(Voice(voice.data, alike=item.alike)), 0)]
        held = _append(self._held, item)
        self._stamps = stamps
        whole = int(held.frames) // self._size * self._size
        packets = [
            self._packet(_part(held, start, start + self._size))
            for start in range(0, whole, self._size)
        ]
        self._held = _part(held, whole, int(held.frames)) if held.frames > whole else None
        return packets

    def flush(self) -> list[tuple[bytes, int]]:
        """What is held back, as a shorter packet."""
        held, self._held = self._held, None
        return [] if held is None else [self._packet(held)]

    def _packet(self, item: Sound | Frames) -> tuple[bytes, int]:
        frames = int(item.frames)
        message: Audio | Codes
        if isinstance(item, Sound):
            data = protocol.pcm_to_bytes(item.samples, self._pcm)
            message = Audio(self._seq, data, stamps=self._stamps)
        else:
            message = Codes(self._seq, frames, bitstream.pack(item.codes), stamps=self._stamps)
        self._seq += frames
        self.frames_out += frames
        return protocol.encode(message), frames


def _append(held: Sound | Frames | None, item: Sound | Frames) -> Sound | Frames:
    if isinstance(held, Sound) and isinstance(item, Sound):
        return Sound(np.concatenate([held.samples, item.samples]))
    if isinstance(held, Frames) and isinstance(item, Frames):
        return Frames(np.concatenate([held.codes, item.codes], axis=1))
    return item


def _part(item: Sound | Frames, start: int, stop: int) -> Sound | Frames:
    """Frames ``start`` to ``stop`` of the item."""
    if isinstance(item, Sound):
        return Sound(item.samples[start * HOP : stop * HOP])
    return Frames(item.codes[:, start:stop])
