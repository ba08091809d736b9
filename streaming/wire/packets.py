"""Cuts a stream of media into numbered packets of a fixed number of frames."""

from __future__ import annotations

from functools import partial

import numpy as np

from facodec import bitstream
from facodec.config import HOP
from streaming.wire import protocol
from streaming.wire.agreed import Agreed
from streaming.wire.framing import Framing
from streaming.wire.media import (
    Coded,
    Frames,
    Joined,
    Media,
    Packed,
    Pause,
    Reduced,
    Sound,
    Timbre,
)
from streaming.wire.protocol import Audio, Codes, Noise, PcmFormat, Repeat, Stamps, Voice
from streaming.wire.repeats import Repeats


class Packetizer:
    """``size`` frames a packet (the last may be shorter), numbered from ``first_frame`` on.

    It holds back less than ``size`` frames, so it is bounded by construction. ``framing`` and
    ``agreed``: of the connection.
    """

    def __init__(
        self,
        size: int,
        pcm: PcmFormat,
        first_frame: int = 0,
        framing: Framing | None = None,
        agreed: Agreed | None = None,
    ) -> None:
        self.frames_out = 0
        self._size = size
        self._pcm: PcmFormat = pcm
        self._seq = first_frame
        self._framing = framing or Framing()
        self._agreed = agreed or Agreed()
        self._voices = VoiceBudget(self._agreed.pauses) if self._agreed.compact else None
        redundancy = self._agreed.redundancy
        self._repeats = None if redundancy is None else Repeats(redundancy)
        self._untold = False
        self._held: Sound | Frames | None = None
        self._stamps: Stamps | None = None
        self._since_stamps = self._agreed.stamp_every

    def add(self, item: Media, stamps: Stamps | None) -> list[tuple[bytes, int]]:
        """(message, frames in it) for every packet the item completes. Sound comes in whole
        hops. A timbre holds for what follows, so it sends what came before it first."""
        if isinstance(item, Timbre):
            if self._voices is None:
                return self._announce(item)
            self._voices.wish(item)
            return []
        frames = 0 if isinstance(item, Pause) and self._agreed.pauses else int(item.frames)
        due = None if self._voices is None else self._voices.due(frames)
        packets = [] if due is None else self._announce(due)
        self._stamps = stamps if self._agreed.stamp_every == 1 else stamps or self._stamps
        if isinstance(item, Pause) and self._agreed.pauses:
            return [*packets, *self.flush(), *self._skip(item), *self._voice_in_pause()]
        if self._untold:
            packets += self._tell_pause(b"")
        if self._is_packet(item):
            assert isinstance(item, Frames)
            return [*packets, *self.flush(), self._packet(item)]
        if self._held is None and isinstance(item, Packed) and item.frames == self._size:
            return [*packets, self._packet(item)]
        held = _append(self._held, item)
        whole = int(held.frames) // self._size * self._size
        packets += [
            self._packet(_part(held, start, start + self._size))
            for start in range(0, whole, self._size)
        ]
        self._held = _part(held, whole, int(held.frames)) if held.frames > whole else None
        return packets

    def _is_packet(self, item: Media) -> bool:
        """Whether frames go out as they came, as they cannot be joined with others for nothing."""
        if isinstance(item, Joined) or (isinstance(item, Reduced) and self._agreed.fewer_layers):
            return True
        return isinstance(item, (Coded, Reduced)) and self._agreed.coder is not None

    def flush(self) -> list[tuple[bytes, int]]:
        """Returns what is held back, as a shorter packet."""
        held, self._held = self._held, None
        return [] if held is None else [self._packet(held)]

    def _announce(self, item: Timbre) -> list[tuple[bytes, int]]:
        voice = (Voice.exact if item.exact else Voice.estimate)(item.vector)
        message = Voice(voice.data, alike=item.alike)
        return [*self.flush(), (self._framing.to_client(message), 0)]

    def _skip(self, item: Pause) -> list[tuple[bytes, int]]:
        # Who takes pauses makes their frames itself: made here they would only put off what comes.
        self._seq += item.told
        self.frames_out += item.told
        self._untold = self._agreed.lossy and (self._untold or item.told > 0)
        return [] if item.noise is None else self._tell_pause(item.noise)

    def _voice_in_pause(self) -> list[tuple[bytes, int]]:
        due = None if self._voices is None else self._voices.due_in_pause()
        return [] if due is None else self._announce(due)

    def _tell_pause(self, noise: bytes) -> list[tuple[bytes, int]]:
        self._untold = False
        return [(self._framing.to_client(Noise(self._seq, noise)), 0)]

    def _packet(self, item: Sound | Frames) -> tuple[bytes, int]:
        frames, stamps = int(item.frames), self._due_stamps()
        message: Audio | Codes
        if isinstance(item, Sound):
            data = protocol.pcm_to_bytes(item.samples, self._pcm)
            message = Audio(self._seq, data, stamps=stamps)
        else:
            message = Codes(
                self._seq,
                frames,
                self._packed(item),
                stamps=stamps,
                repeat=self._repeat(item),
                layers=self._layers_of(item),
            )
        self._seq += frames
        self.frames_out += frames
        return self._framing.to_client(message), frames

    def _layers_of(self, item: Frames) -> int | None:
        """Layers that go out of frames; None for all there are."""
        if not (isinstance(item, Reduced) and self._agreed.fewer_layers):
            return None
        return item.known if item.known < len(item.codes) else None

    def _packed(self, item: Frames) -> bytes:
        coder = self._agreed.coder
        if isinstance(item, Reduced) and self._layers_of(item) is not None:
            return item.packed(coder)
        if coder is None:
            return item.data if isinstance(item, Packed) else bitstream.pack(item.codes)
        return item.data if isinstance(item, Coded) else coder.encode(item.codes)

    def _repeat(self, item: Frames) -> Repeat | None:
        if self._repeats is None:
            return None
        essence = partial(item.essence, self._agreed.coder)
        return self._repeats.add(self._seq, int(item.frames), essence)

    def _due_stamps(self) -> Stamps | None:
        self._since_stamps += 1
        if self._since_stamps < self._agreed.stamp_every or self._stamps is None:
            return None
        stamps, self._since_stamps = self._stamps, 0
        if self._agreed.stamp_every > 1:
            self._stamps = None
        return stamps


class VoiceBudget:
    """Lets voices go out so seldom that they cost little: two in the first second that is sent of
    a stream, and after it one in 2.5 s, which is 0.4 kbit/s. The newest waits for its turn.

    On a narrow link a voice puts off what follows it by 0.1 s and more. So where there are
    ``pauses`` an estimate like the last one waits for one, but not for ever.
    """

    def __init__(self, pauses: bool = False) -> None:
        self._pauses = pauses
        self._wished: Timbre | None = None
        self._last: Timbre | None = None
        self._sent = self._next = 0

    def wish(self, item: Timbre) -> None:
        """Takes the voice from here on."""
        self._wished = item

    def due(self, frames: int, *, hold: bool = False) -> Timbre | None:
        """Returns the estimate that may go out before the next frames, so many, if any; none while
        it is to be held back."""
        frame, self._sent = self._sent, self._sent + frames
        if hold or self._wished is None or not frames or frame < self._next:
            return None
        may_wait = frame < self._next + PAUSE_WITHIN and self._pauses
        return None if may_wait and self._is_alike(self._wished) else self._take(frame)

    def due_in_pause(self, *, hold: bool = False) -> Timbre | None:
        """Returns the estimate that may go out while nothing else does, if any."""
        return None if hold or self._sent < self._next else self._take(self._sent)

    def _take(self, frame: int) -> Timbre | None:
        wished, self._wished = self._wished, None
        if wished is None:
            return None
        self._last = wished
        in_first = frame < FIRST_SECOND
        self._next = min(frame + EARLY_GAP, FIRST_SECOND) if in_first else frame + LATER_GAP
        return wished

    def _is_alike(self, wished: Timbre) -> bool:
        """Whether a voice is an estimate and hardly another than the last."""
        if wished.exact or self._last is None:
            return False
        a, b = wished.vector, self._last.vector
        return float(a @ b) >= ALIKE * float(np.linalg.norm(a) * np.linalg.norm(b))


FIRST_SECOND, EARLY_GAP, LATER_GAP = 80, 40, 200
"""Frames of the first second, and from one voice to the next in it and after it."""
PAUSE_WITHIN = 600
"""Frames that are sent until a voice does not wait for a pause any more: 7.5 s."""
ALIKE = 0.9
"""Cosine of an estimate to the last from which it waits: as of two recordings of one person."""


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
