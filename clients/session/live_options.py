"""Options of a live command."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clients.library.addresses import is_quic
from facodec.config import HOP, SAMPLE_RATE
from facodec.names import is_anonymous
from facodec.recording import SUFFIX
from streaming.wire.protocol import Role

REDUNDANCY = 2
"""Packets from one to its repeat over a network that loses: so many in a row cost detail alone."""


@dataclass(frozen=True)
class LiveOptions:
    """Options of a live command. Without a file the device is used; roles without input or output
    leave theirs alone."""

    url: str
    role: Role
    voice: np.ndarray | str | None = None
    room: str | None = None
    model: str | None = None
    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    layers: int = 6
    frames_per_packet: int = 1
    seed: int = 0
    pitch: float | None = None
    """Median pitch of who converts, Hz."""
    shift: float = 0.0
    """Semitones by which the voice is moved."""
    gain: float = 0.0
    """Gain of what is heard, dB."""
    gate: float | None = None
    """Peak, in dB of full scale, below which a hop is made silent before it is encoded."""
    voice_name: str = "own voice"
    """Name of the voice for people."""
    local: bool = False
    fast: bool = False
    pauses: bool = True
    """Whether frames in which nobody speaks are left out, where both ends encode and decode."""
    redundancy: int | None = None
    """Packets from one to its repeat, 0 for none; None: as the transport wants it."""
    reconnect: bool = False
    input: Path | None = None
    output: Path | None = None
    device_in: str | None = None
    device_out: str | None = None
    save_input: Path | None = None
    denoise: bool = False
    playout: float | None = None
    """Smallest margin of the playout buffer, s."""
    append: bool = False
    """Whether a recording goes on at the end of the one that is there."""

    @property
    def converts_here(self) -> bool:
        """Whether sound becomes codes of a voice of nobody before it leaves: what the server gets
        then tells as little of the talker as what others hear."""
        return self.local and self.listens and is_anonymous(self.voice)

    @property
    def listens(self) -> bool:
        """Whether sound goes in here."""
        return self.role != "subscribe"

    @property
    def packet_wait(self) -> float:
        """Seconds that the first frame of a packet waits for the last."""
        return (self.frames_per_packet - 1) * HOP / SAMPLE_RATE

    @property
    def may_pause(self) -> bool:
        """Whether frames may be left out: not of a file whose result is to be exact, nor of what
        the server converts."""
        return self.pauses and not self.fast and self.role != "convert"

    @property
    def repeats(self) -> int | None:
        """Packets from one to its repeat, where codes travel and may be lost; None: nothing is
        repeated."""
        loses = is_quic(self.url) and not self.fast
        wanted = self.redundancy if self.redundancy is not None else REDUNDANCY * loses
        return wanted if self.local and wanted else None

    @property
    def plays(self) -> bool:
        """Whether sound comes out here."""
        return self.role != "publish" and not self.records

    @property
    def hears_live(self) -> bool:
        """Whether the newest of a room is worth most: not where a file is to have all of it."""
        return self.role == "subscribe" and self.plays and self.output is None

    @property
    def records(self) -> bool:
        """Whether codes go into a file as they come, and no sound comes out."""
        return self.role == "subscribe" and is_recording(self.output)


def is_recording(output: Path | None) -> bool:
    """Whether an output is a file of codes, by its suffix."""
    return output is not None and output.suffix.lower() == SUFFIX
