"""Summary of a recording in numbers and sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from facodec.config import CODE_BITS, HOP, SAMPLE_RATE
from facodec.reasons import shown
from facodec.recording.blocks import FramesBlock, VoiceBlock
from facodec.recording.reading import Recording
from facodec.recording.scan import Lost, clock

MOST_LISTED = 1000
"""Stretches, and losses, that are listed one by one; all are counted."""


@dataclass
class Summary:
    """Counts of a recording that was read to its end. ``stretches``: samples from and to, without
    a gap in between."""

    version: int
    model: str
    started: int | None
    ended: bool = False
    samples: int = 0
    frames: int = 0
    layers: set[int] = field(default_factory=set)
    voices: int = 0
    blocks: int = 0
    size: int = 0
    gaps: int = 0
    stretches: list[tuple[int, int]] = field(default_factory=list)
    losses: int = 0
    lost: list[Lost] = field(default_factory=list)

    @property
    def damaged(self) -> bool:
        """Whether something is lost other than by cutting the end off."""
        return any(not item.cut for item in self.lost)

    def to_json(self) -> dict[str, Any]:
        """Times in seconds, sizes in bytes."""
        return {
            "version": self.version,
            "model": self.model,
            "started": self.started,
            "seconds": self.samples / SAMPLE_RATE,
            "frames": self.frames,
            "layers": sorted(self.layers),
            "voices": self.voices,
            "blocks": self.blocks,
            "bytes": self.size,
            "gaps": self.gaps,
            "stretches": [[a / SAMPLE_RATE, b / SAMPLE_RATE] for a, b in self.stretches],
            "ended": self.ended,
            "damaged": self.damaged,
            "losses": self.losses,
            "lost": [
                {
                    "blocks": [one.first, one.last],
                    "from": one.start / SAMPLE_RATE,
                    "to": None if one.end is None else one.end / SAMPLE_RATE,
                    "bytes": one.size,
                    "cut": one.cut,
                    "why": str(one),
                }
                for one in self.lost
            ],
        }

    def lines(self) -> list[str]:
        """Lines of the summary for people."""
        layers = " and ".join(map(str, sorted(self.layers))) or "no"
        spoken = self.frames * HOP
        rate = CODE_BITS * SAMPLE_RATE / HOP / 1000 * max(self.layers, default=0)
        real = 8 * self.size * SAMPLE_RATE / spoken / 1000 if spoken else 0.0
        told = [
            f"length   {clock(self.samples)}, {self.frames} frames of {layers} codes",
            f"rate     {rate:.1f} kbit/s of codes, {real:.2f} in all ({self.size} bytes)",
            f"model    {self.model}",
            f"voices   {self.voices}",
            f"gaps     {self.gaps}, {clock(max(0, self.samples - spoken))} without frames",
            f"format   version {self.version}, {self.blocks} blocks, {self._end()}",
        ]
        if self.started is not None:
            when = datetime.fromtimestamp(self.started, timezone.utc)
            told.insert(1, f"started  {when:%Y-%m-%d %H:%M:%S} UTC")
        told += [f"lost     {item}" for item in self.lost]
        if self.losses > len(self.lost):
            told.append(f"lost     in {self.losses - len(self.lost)} more places")
        return told

    def _end(self) -> str:
        return "ended" if self.ended else "without an end: still going on, or broken off"


def summarise(recording: Recording) -> Summary:
    """Read all of a recording, in bounded memory."""
    header = recording.header
    found = Summary(recording.version, shown(header.model), header.started)
    for item in recording.items():
        if isinstance(item, FramesBlock):
            _add_frames(found, item)
        elif isinstance(item, VoiceBlock):
            found.voices += 1
        else:
            found.losses += 1
            if len(found.lost) < MOST_LISTED:
                found.lost.append(item)
    found.ended, found.samples = recording.ended, recording.samples
    found.blocks, found.size = recording.scan.blocks, recording.size
    return found


def _add_frames(found: Summary, item: FramesBlock) -> None:
    found.frames += item.codes.shape[1]
    found.layers.add(len(item.codes))
    last = found.stretches[-1] if found.stretches else None
    if last is not None and (last[1] == item.start or len(found.stretches) == MOST_LISTED):
        found.gaps += last[1] != item.start
        found.stretches[-1] = (last[0], item.end)
        return
    found.gaps += last is not None or item.start > 0
    found.stretches.append((item.start, item.end))
