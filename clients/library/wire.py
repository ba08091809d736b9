"""Messages of a session to bytes and back: what client and server agreed on for the wire."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from facodec import bitstream
from facodec.link.entropy import FrameCoder
from facodec.link.repair import check_essence_size, pack_essence, unpack_essence
from streaming.wire import binary
from streaming.wire.framing import framing_of
from streaming.wire.media import Timbre
from streaming.wire.packets import VoiceBudget
from streaming.wire.protocol import (
    STAMP_EVERY,
    SUBPROTOCOL,
    VERSION,
    ClientMessage,
    Hello,
    Ready,
    Repeat,
    ServerMessage,
    Voice,
)
from streaming.wire.repeats import Repeats


class ClientWire:
    """The client's half of one connection's wire. ``subprotocol``: that the server chose;
    ``coder``: with which codes may be coded, if it has the same tables; ``lossy``: packets of codes
    may be lost or overtake each other."""

    def __init__(
        self, subprotocol: str | None, coder: FrameCoder | None = None, *, lossy: bool = False
    ) -> None:
        self.subprotocol = subprotocol or SUBPROTOCOL
        self.lossy = lossy
        self._framing = framing_of(subprotocol, lossy=lossy)
        self._repeats: Repeats | None = None
        self._offered = coder
        self._coder: FrameCoder | None = None
        self._voices: VoiceBudget | None = None
        self._since_stamp = STAMP_EVERY
        self.pauses = False
        """Whether frames may be left out where nobody speaks."""
        self.fewer_layers = False
        """Whether packets of codes may leave out detail."""

    def hello(self, hello: Hello) -> Hello:
        """The hello, with what only this wire knows."""
        offered = self._offered.identity if self._offered is not None else ""
        return replace(hello, version=self._framing.version, coder=offered or None)

    def agree(self, ready: Ready) -> None:
        """The server has said what holds of the hello's wishes."""
        if self._offered is not None and ready.coder == self._offered.identity:
            self._coder = self._offered
        if ready.voices == "compact":
            self._voices = VoiceBudget(bool(ready.pauses))
            self._framing.compact_voices = True
        self.pauses = bool(ready.pauses)
        self.fewer_layers = bool(ready.fewer_layers)
        if ready.redundancy is not None:
            self._repeats = Repeats(ready.redundancy)

    def encode(self, message: ClientMessage) -> bytes:
        return self._framing.to_server(message)

    def decode(self, data: bytes, now: float | None) -> ServerMessage:
        """``now``: the server's clock, s. Raises ProtocolError."""
        return self._framing.from_server(data, now)

    def pack(self, codes: np.ndarray) -> bytes:
        """Codes (K, n) as the data of a message."""
        return bitstream.pack(codes) if self._coder is None else self._coder.encode(codes)

    def unpack(self, data: bytes, layers: int, frames: int) -> np.ndarray:
        """Inverse of :meth:`pack`: codes (layers, frames). Raises ValueError."""
        if self._coder is None:
            return bitstream.unpack(data, layers=layers, frames=frames)
        return self._coder.decode(data, layers, frames)

    def repeat(self, seq: int, codes: np.ndarray) -> Repeat | None:
        """The repeat to go with a packet of codes (K, n) from frame ``seq`` on, if any."""
        if self._repeats is None:
            return None
        essence = partial(pack_essence, codes, self._coder)
        return self._repeats.add(seq, codes.shape[1], essence)

    def unpack_repeat(self, repeat: Repeat) -> np.ndarray:
        """Codes (3, n) of a repeat. Raises ValueError."""
        check_essence_size(len(repeat.data), repeat.n, self._coder)
        return unpack_essence(repeat.data, repeat.n, self._coder)

    def estimate(self, vector: np.ndarray) -> bool:
        """Whether an estimate (256,) may be sent now; if not, :meth:`due_estimate` gives it."""
        if self._voices is None:
            return True
        self._voices.wish(Timbre(vector, exact=False))
        return False

    def due_estimate(self, frames: int, *, hold: bool) -> Voice | None:
        """The estimate that is to go before a packet of so many frames, unless it is held back."""
        due = None if self._voices is None else self._voices.due(frames, hold=hold)
        return None if due is None else Voice.estimate(due.vector)

    def estimate_in_pause(self, *, hold: bool) -> Voice | None:
        """The estimate that is to go while frames are left out, unless it is held back."""
        due = None if self._voices is None else self._voices.due_in_pause(hold=hold)
        return None if due is None else Voice.estimate(due.vector)

    @staticmethod
    def ticks(stamp: float) -> int:
        """Part of a stamp, s, that is sure to come back."""
        return round(stamp / binary.TICK) % binary.TICKS

    def stamps_codes(self) -> bool:
        """Whether the next packet of codes is to carry a stamp."""
        self._since_stamp += 1
        if self._framing.version > VERSION and self._since_stamp < STAMP_EVERY:
            return False
        self._since_stamp = 0
        return True
