"""Codes from the server as packets: those of fewer layers, and those that the way has lost."""

from __future__ import annotations

import numpy as np

from clients.library.packets import CodesPacket, LostPacket, Packet, PausePacket, Times, WireCount
from clients.library.stamps import SentStamps, codes_bits
from clients.library.wire import ClientWire
from facodec.config import CODE_LAYERS
from facodec.identity import ModelIdentity, belonging
from facodec.link.repair import widened
from streaming.wire.assembly import Assembly, Piece
from streaming.wire.protocol import Codes, Noise, Repeat


class IncomingCodes:
    """The codes of one session. ``wire``: counts their bits."""

    def __init__(self, encoding: ClientWire, stamps: SentStamps, wire: WireCount) -> None:
        self._encoding, self._stamps, self._wire = encoding, stamps, wire
        self._layers = CODE_LAYERS
        self._identity: ModelIdentity | None = None
        self._assembly: Assembly | None = None
        self._last: np.ndarray | None = None

    def begin(self, layers: int, identity: ModelIdentity, first: int) -> None:
        """The session is open: codes of so many layers and this model come, from the ``first``
        frame on."""
        self._layers, self._identity = layers, identity
        self._assembly = Assembly(first) if self._encoding.lossy else None

    @property
    def repeated(self) -> int:
        """Frames that were lost, and filled from a repeat."""
        return 0 if self._assembly is None else self._assembly.repeated

    @property
    def lost(self) -> int:
        """Frames that were lost for good."""
        return 0 if self._assembly is None else self._assembly.lost

    def packet(self, message: Codes, arrived: float) -> CodesPacket:
        """The packet of a message that is in order. Raises ValueError."""
        layers = message.layers or self._layers
        if layers > self._layers:
            raise ValueError(f"expected up to {self._layers} layers of codes, got {layers}")
        self._wire.codes_bits_down += codes_bits(message, layers)
        codes = self._whole(self._encoding.unpack(message.data, layers, message.n))
        times = self._stamps.times(message.stamps, arrived)
        return CodesPacket(message.seq, codes, times, layers=message.layers)

    def put(self, message: Codes | Noise, now: float) -> None:
        """Takes a message of a lossy way. Raises ProtocolError."""
        if self._assembly is not None:
            self._assembly.put(message, now)

    def settled(self, now: float, *, ended: bool) -> list[Packet]:
        """Returns what is in order by now, or in place of what was lost; all where it has
        ``ended``. Raises ValueError."""
        if self._assembly is None:
            return []
        pieces = self._assembly.flush() if ended else self._assembly.take(now)
        return [self._settled(piece, now) for piece in pieces]

    def patience(self, now: float) -> float | None:
        """Seconds until :meth:`settled` may return more though nothing comes; None: never."""
        return None if self._assembly is None else self._assembly.wait(now)

    def _settled(self, piece: Piece, now: float) -> Packet:
        message = piece.message
        if isinstance(message, Codes):
            return self.packet(message, now)
        if isinstance(message, Repeat):
            known = self._encoding.unpack_repeat(message)
            codes, layers = self._whole(known), len(known)
            return CodesPacket(piece.first, codes, Times(now), repaired=True, layers=layers)
        if isinstance(message, Noise):
            return PausePacket(piece.first, piece.count, message.data)
        return LostPacket(piece.first, piece.count)

    def _whole(self, known: np.ndarray) -> np.ndarray:
        """Codes of all layers (K, n), where fewer came with the detail of the frame before."""
        fewer = len(known) < self._layers
        codes = widened(known, self._last, self._layers) if fewer else known
        self._last = codes[:, -1]
        return belonging(codes, self._identity)
