"""Codes of a client as frames in order: those that it left out, and those that the way has lost."""

from __future__ import annotations

from collections import deque
from typing import TypeGuard

import numpy as np

from facodec import bitstream
from facodec.link.repair import SPOKEN_ON, check_essence_size, spoken_on, unpack_essence, widened
from streaming.wire import protocol
from streaming.wire.agreed import Agreed
from streaming.wire.assembly import Assembly, Piece
from streaming.wire.events import Arrived, Totals
from streaming.wire.media import Coded, Frames, Packed, Pause, Reduced
from streaming.wire.pausing import PauseClock
from streaming.wire.protocol import Codes, Limits, Message, Noise, ProtocolError, Repeat

REMEMBERED = 12
"""Packets of codes that a pause is made to sound like, of which the newest frames count."""


class IncomingCodes:
    """The codes of one session. ``layers``: of each frame; ``totals``: of the session, whose
    ``frames_in`` are counted here; ``lossy``: packets may be lost or overtake each other."""

    def __init__(self, layers: int, limits: Limits, totals: Totals, *, lossy: bool) -> None:
        self._layers, self._limits, self._totals = layers, limits, totals
        self._agreed = Agreed(lossy=lossy)
        self._says_level = False
        self._newest: deque[Frames] = deque(maxlen=REMEMBERED)
        self._clock = PauseClock()
        self._assembly = Assembly() if lossy else None

    def agree(self, agreed: Agreed, *, says_level: bool) -> None:
        """Takes what holds from here on. ``says_level``: of the codes of the model."""
        self._agreed, self._says_level = agreed, says_level

    @property
    def pauses(self) -> bool:
        """Whether frames may be left out."""
        return self._agreed.pauses

    def takes(self, message: Message) -> TypeGuard[Codes | Noise]:
        """Whether it is a message of these, which :meth:`take` is for."""
        return isinstance(message, Codes) or (isinstance(message, Noise) and self.pauses)

    def take(self, message: Codes | Noise, now: float) -> Arrived | None:
        """Takes a message; None: what comes of it comes from :meth:`settled`. Raises
        ProtocolError."""
        if isinstance(message, Codes):
            self._check(message)
        if self._assembly is not None:
            self._assembly.put(message, now)
            return None
        if isinstance(message, Noise):
            return self._told_pause(message, now)
        before = self._pause(message.seq, None, now)
        return Arrived(self._frames(message), message.t, before)

    def settled(self, now: float, *, ended: bool) -> list[Arrived]:
        """Returns the frames of a lossy way that are in order by now, or in place of lost ones;
        all when it has ``ended``."""
        if self._assembly is None:
            return []
        pieces = self._assembly.flush() if ended else self._assembly.take(now)
        return [arrived for piece in pieces for arrived in self._arrived(piece, now)]

    def patience(self, now: float) -> float | None:
        """Seconds until :meth:`settled` may return more though nothing comes; None: never."""
        return None if self._assembly is None else self._assembly.wait(now)

    def pause_due(self, now: float) -> tuple[Pause | None, float | None]:
        """Returns the part of a pause to be made by now though it was not told yet, so that who
        takes a frame for every hop does not wait; and the seconds until there may be more, None
        while there is no pause."""
        if not self.pauses:
            return None, None
        first = self._totals.frames_in + self._clock.ahead
        count = self._clock.due(now)
        made = Pause(first, count, self._newest, self._layers, None, 0) if count else None
        return made, self._clock.wait(now)

    # -------------------------------------------------------------------------------------- inside

    def _check(self, message: Codes) -> None:
        layers, count, size = self._layers_of(message), message.n, len(message.data)
        wanted, coder = protocol.codes_size(layers, count), self._agreed.coder
        if message.repeat is not None:
            self._check_repeat(message.repeat)
        if size != wanted and (coder is None or size > wanted):
            raise ProtocolError(
                "bad-size",
                f"expected {wanted} bytes for {count} frames of {layers} layers, got {size}",
            )

    def _layers_of(self, message: Codes) -> int:
        if message.layers is None:
            return self._layers
        if not self._agreed.fewer_layers:
            raise ProtocolError("unexpected-message", "got fewer layers where none were agreed on")
        if message.layers >= self._layers:
            raise ProtocolError(
                "bad-size",
                f"expected fewer layers than the {self._layers} agreed on, got {message.layers}",
            )
        return message.layers

    def _check_repeat(self, repeat: Repeat) -> None:
        if self._agreed.redundancy is None:
            raise ProtocolError("unexpected-message", "got a repeat where none was agreed on")
        try:
            check_essence_size(len(repeat.data), repeat.n, self._agreed.coder)
        except ValueError as error:
            raise ProtocolError("bad-size", str(error)) from error

    def _frames(self, message: Codes) -> Frames:
        layers, count, coder = message.layers or self._layers, message.n, self._agreed.coder
        self._totals.frames_in += count
        frames: Frames
        if coder is not None:
            frames = Coded(message.data, layers, count, coder)
        elif bitstream.is_padded(message.data, layers, count):
            frames = Packed(message.data, layers, count)
        else:
            frames = Frames(bitstream.unpack(message.data, layers=layers, frames=count))
        if message.layers is not None:
            whole = widened(frames.codes, self._last, self._layers)
            frames = Reduced(whole, layers, frames)
        self._remember(frames)
        return frames

    def _remember(self, frames: Frames) -> None:
        """Takes note of frames that a pause, a gap or the detail after them is made of."""
        if self.pauses or self._assembly is not None or self._agreed.fewer_layers:
            self._newest.append(frames)
            self._clock.on_speech(int(frames.frames))

    @property
    def _last(self) -> np.ndarray | None:
        """The last frame (K,) that came, None before the first."""
        return self._newest[-1].codes[:, -1] if self._newest else None

    def _told_pause(self, message: Noise, now: float) -> Arrived:
        pause = self._pause(message.seq, message.data, now)
        assert pause is not None
        return Arrived(pause, None)

    def _pause(self, seq: int, noise: bytes | None, now: float) -> Pause | None:
        """The frames before ``seq`` that were not sent, as far as they were not made before."""
        first = self._totals.frames_in
        if noise is None and (not self.pauses or seq == first):
            if seq != first:
                raise ProtocolError("bad-seq", f"expected seq {first}, got {seq}")
            return None
        if not first <= seq <= first + self._limits.max_frames:
            raise ProtocolError(
                "bad-seq",
                f"expected a pause from frame {first} on every {self._limits.max_frames} frames, "
                f"got seq {seq}",
            )
        self._totals.frames_in = seq
        missing = self._clock.on_pause(seq - first, now)
        told = seq - first
        return Pause(seq - missing, missing, self._newest, self._layers, noise, told)

    def _arrived(self, piece: Piece, now: float) -> list[Arrived]:
        message = piece.message
        if isinstance(message, Codes):
            return [Arrived(self._frames(message), message.t)]
        if isinstance(message, Noise):
            return [self._told_pause(message, now)]
        self._totals.frames_in += piece.count
        last = self._last
        if isinstance(message, Repeat):
            essence = unpack_essence(message.data, message.n, self._agreed.coder)
            repeated = Reduced(widened(essence, last, self._layers))
            self._remember(repeated)
            return [Arrived(repeated, None)]
        # Some of it may have been made already, as part of a pause.
        missing = self._clock.on_pause(piece.count, now)
        essence = spoken_on(last, min(missing, SPOKEN_ON), says_level=self._says_level)
        left = missing - essence.shape[1]
        end, told = self._totals.frames_in, piece.count - essence.shape[1]
        silent = Pause(end - left, left, self._newest, self._layers, None, told)
        concealed = Reduced(widened(essence, last, self._layers))
        spoken = [Arrived(concealed, None)] if concealed.frames else []
        return [*spoken, Arrived(silent, None)] if told else spoken
