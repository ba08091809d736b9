"""Status of a live command while it runs and at its end: for people, or as JSON lines."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

import numpy as np

from clients.audio.endpoints import Sink, Source
from clients.library.packets import WireCount
from clients.session.controls import Controls
from clients.session.ledger import Ledger
from clients.session.uplink import LinkCounters
from facodec.config import HOP, SAMPLE_RATE

SILENCE_DB = -99.0
METER_DB, METER_WIDTH = 50.0, 10
HEADER_BYTES = 6 + 20 + 32
"""Beneath a message's payload: WebSocket (2 to 8), IPv4 (20), TCP with time stamps (32)."""


class LevelMeter:
    """Peak of the input since it was last looked at."""

    def __init__(self) -> None:
        self._peak = 0.0

    def add(self, samples: np.ndarray) -> None:
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))

    def take(self) -> float:
        """dB of full scale, and start anew."""
        peak, self._peak = self._peak, 0.0
        return max(SILENCE_DB, 20 * math.log10(peak)) if peak > 0 else SILENCE_DB


@dataclass
class Progress:
    """Running totals of a live command, over all its sessions."""

    started: float
    samples_in: int = 0
    samples_out: int = 0
    underruns: int = 0
    overruns: int = 0
    playout: dict[str, int] | None = None
    """Counters of the playout buffer, None where a file is written."""
    reconnects: int = 0
    trouble: str = ""
    """A sentence on the link up; empty where it is good."""
    chosen: Controls | None = None
    """Controls that somebody has; None where nobody does."""
    link: LinkCounters = field(default_factory=LinkCounters)
    wire: WireCount = field(default_factory=WireCount)
    level: LevelMeter = field(default_factory=LevelMeter)
    ledger: Ledger = field(default_factory=Ledger)

    def count_devices(self, source: Source | None, sink: Sink | None) -> None:
        """Takes over what the ends have counted."""
        counters = None if sink is None else sink.counters
        self.overruns = 0 if source is None else source.overruns
        if counters is not None:
            self.underruns = counters.underruns
            self.overruns += counters.overruns
            self.playout = counters.as_dict()


@dataclass(frozen=True)
class Snapshot:
    """One moment of a live command. Rates are of the time since the last one."""

    seconds: float
    level_db: float
    up_kbps: float
    down_kbps: float
    headers_kbps: tuple[float, float]
    """Rate of headers beside these, up and down."""
    sound_kbps: tuple[float, float]
    """Sound alone, up and down, without the messages around it."""
    codes_kbps: tuple[float, float]
    """Codes, likewise."""
    frames_in: int
    frames_out: int
    lag_ms: float
    underruns: int
    overruns: int
    playout: dict[str, int] | None
    ledger: dict[str, dict[str, float | int]]
    brief: str
    trouble: str = ""
    link: dict[str, int] = field(default_factory=dict)
    chosen: str = ""
    """Voice and whatever else is set at the keys; empty where there are none."""

    def as_line(self, width: int) -> str:
        """Returns as much as fits into ``width`` columns, the most important first: a line that is
        broken by the terminal cannot be written over."""
        filled = round((self.level_db + METER_DB) / METER_DB * METER_WIDTH)
        meter = "#" * max(0, min(METER_WIDTH, filled))
        line, *fields = (
            f"{self.seconds:6.1f} s  [{meter:<{METER_WIDTH}}]",
            *([self.chosen] if self.chosen else []),
            *([self.trouble] if self.trouble else []),
            self._media(),
            f"lag {self.lag_ms:.0f} ms",
            "  ".join(filter(None, (f"underruns {self.underruns}", losses(self.link)))),
            f"wire {self.up_kbps:.1f}/{self.down_kbps:.1f} kbit/s",
            f"with headers {self._all(0):.0f}/{self._all(1):.0f}",
            f"sum {self.brief}",
            f"frames {self.frames_in}/{self.frames_out}",
        )
        for part in fields:
            if len(line) + 2 + len(part) > width:
                break
            line = f"{line}  {part}"
        return line

    def _all(self, way: int) -> float:
        return (self.up_kbps, self.down_kbps)[way] + self.headers_kbps[way]

    def _media(self) -> str:
        """Rates of what goes out and comes in, each with what it is."""
        parts = [
            f"{name} {rate:.{digits}f} kbit/s {way}"
            for at, way in enumerate(("out", "in"))
            for name, digits, rate in (
                ("sound", 0, self.sound_kbps[at]), ("codes", 1, self.codes_kbps[at])
            )
            if rate
        ]  # fmt: skip
        return ", ".join(parts) or "nothing sent yet"

    def as_dict(self) -> dict[str, Any]:
        return {
            "type": "status",
            "seconds": round(self.seconds, 3),
            "level_db": round(self.level_db, 1),
            "up_kbps": round(self.up_kbps, 2),
            "down_kbps": round(self.down_kbps, 2),
            "headers_kbps": [round(rate, 2) for rate in self.headers_kbps],
            "sound_kbps": [round(rate, 2) for rate in self.sound_kbps],
            "codes_kbps": [round(rate, 2) for rate in self.codes_kbps],
            "frames_in": self.frames_in,
            "frames_out": self.frames_out,
            "lag_ms": round(self.lag_ms, 1),
            "underruns": self.underruns,
            "overruns": self.overruns,
            "playout": self.playout,
            "trouble": self.trouble,
            "link": self.link,
            "ledger": self.ledger,
        }


class Sampler:
    """Makes snapshots of a :class:`Progress`; the time is passed in."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = progress.started
        self._wire = WireCount()

    def take(self, now: float) -> Snapshot:
        progress, wire, before = self._progress, self._progress.wire, self._wire
        kilobits = 1e-3 / max(now - self._last, 1e-6)
        self._last, self._wire = now, replace(wire)
        lost = progress.link.dropped + progress.link.skipped
        behind = progress.samples_in - HOP * lost - progress.samples_out
        return Snapshot(
            seconds=now - progress.started,
            level_db=progress.level.take(),
            up_kbps=8 * (wire.bytes_up - before.bytes_up) * kilobits,
            down_kbps=8 * (wire.bytes_down - before.bytes_down) * kilobits,
            headers_kbps=(
                8 * HEADER_BYTES * (wire.messages_up - before.messages_up) * kilobits,
                8 * HEADER_BYTES * (wire.messages_down - before.messages_down) * kilobits,
            ),
            sound_kbps=(
                (wire.sound_bits_up - before.sound_bits_up) * kilobits,
                (wire.sound_bits_down - before.sound_bits_down) * kilobits,
            ),
            codes_kbps=(
                (wire.codes_bits_up - before.codes_bits_up) * kilobits,
                (wire.codes_bits_down - before.codes_bits_down) * kilobits,
            ),
            frames_in=frames(progress.samples_in),
            frames_out=frames(progress.samples_out),
            lag_ms=max(0, behind) / SAMPLE_RATE * 1000 if progress.samples_out else 0.0,
            underruns=progress.underruns,
            overruns=progress.overruns,
            playout=progress.playout,
            ledger=progress.ledger.as_dict(),
            brief=progress.ledger.brief(),
            trouble=progress.trouble,
            link=progress.link.as_dict(),
            chosen=progress.chosen.as_line() if progress.chosen is not None else "",
        )


class Reporter:
    """Tells the user: messages and the live line on ``errors`` (the line only on a terminal),
    the final table on ``out``; with ``as_json`` instead one JSON object a line on ``out``."""

    def __init__(
        self, *, as_json: bool = False, out: TextIO | None = None, errors: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self._out = out or sys.stdout
        self._errors = errors or sys.stderr
        self._line_shown = False

    def say(self, sentence: str) -> None:
        if self.as_json:
            self._json({"type": "message", "message": sentence})
        else:
            self._end_line()
            print(sentence, file=self._errors, flush=True)

    def show(self, snapshot: Snapshot) -> None:
        if self.as_json:
            self._json(snapshot.as_dict())
        elif self._errors.isatty():
            width = shutil.get_terminal_size().columns - 1
            self._errors.write(f"\r\x1b[K{snapshot.as_line(width)}")
            self._errors.flush()
            self._line_shown = True

    def conclude(self, progress: Progress, now: float) -> None:
        """The ledger and the totals."""
        if self.as_json:
            self._json(summary(progress, now))
            return
        self._end_line()
        if table := progress.ledger.table():
            print(table, file=self._out)
        print(totals(progress, now), file=self._out, flush=True)

    def _end_line(self) -> None:
        if self._line_shown:
            self._errors.write("\n")
            self._line_shown = False

    def _json(self, value: dict[str, Any]) -> None:
        print(json.dumps(value), file=self._out, flush=True)


def losses(link: dict[str, int]) -> str:
    """Frames that a network has lost and what became of them; empty where it has lost none."""
    told = [f"{link[key]} {key}" for key in ("repaired", "concealed", "lost") if link.get(key)]
    return ", ".join(told)


def frames(samples: int) -> int:
    """Number of frames that so many samples take; a part of one counts."""
    return -(-samples // HOP)


def summary(progress: Progress, now: float) -> dict[str, Any]:
    """All totals, for machines. Byte counts are WebSocket payloads, headers excluded."""
    wire = progress.wire
    return {
        "type": "summary",
        "seconds": round(now - progress.started, 3),
        "frames_in": frames(progress.samples_in),
        "frames_out": frames(progress.samples_out),
        "bytes_up": wire.bytes_up,
        "bytes_down": wire.bytes_down,
        "messages_up": wire.messages_up,
        "messages_down": wire.messages_down,
        "sound_bits_up": wire.sound_bits_up,
        "sound_bits_down": wire.sound_bits_down,
        "codes_bits_up": wire.codes_bits_up,
        "codes_bits_down": wire.codes_bits_down,
        "overruns": progress.overruns,
        "underruns": progress.underruns,
        "playout": progress.playout,
        "reconnects": progress.reconnects,
        "link": progress.link.as_dict(),
        "ledger": progress.ledger.as_dict(),
    }


def totals(progress: Progress, now: float) -> str:
    """All totals in a few lines for people. Rates are per second of speech."""
    lines = [
        f"frames       {frames(progress.samples_in)} in, {frames(progress.samples_out)} out"
        f" in {now - progress.started:.1f} s"
    ]
    speech = max(progress.samples_in, progress.samples_out) / SAMPLE_RATE
    wire = progress.wire
    for way, sound, codes, size, count in (
        ("out", wire.sound_bits_up, wire.codes_bits_up, wire.bytes_up, wire.messages_up),
        ("in", wire.sound_bits_down, wire.codes_bits_down, wire.bytes_down, wire.messages_down),
    ):
        if count and speech:
            each = {
                "of sound": sound,
                "of codes": codes,
                "in WebSocket payload": 8 * size,
                "or so with headers": 8 * (size + count * HEADER_BYTES),
            }
            parts = [f"{part / 1000 / speech:.1f} {name}" for name, part in each.items() if part]
            lines.append(f"kbit/s {way:<6}{', '.join(parts)}")
    link = progress.link
    if link.steps or link.dropped or link.reduced or link.reduced_in:
        lines.append(
            f"link         too slow: packets made smaller or longer {link.steps} times, "
            f"{link.reduced} frames sent and {link.reduced_in} heard without detail, "
            f"{link.dropped} dropped"
        )
    if lost := losses(link.as_dict()):
        lines.append(f"losses       {lost} frames")
    if progress.link.returns:
        lines.append(f"connection   lost and there again {progress.link.returns} times")
    if progress.playout is not None:
        lines.append(
            f"playout      {progress.underruns} underruns, {progress.overruns} overruns, "
            f"{progress.playout['concealed'] / SAMPLE_RATE * 1000:.0f} ms concealed"
        )
    return "\n".join(lines)
