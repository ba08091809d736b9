"""Ledger of latency: a bounded sample of durations for each stage of the way."""

from __future__ import annotations

import random

from clients.library.packets import Times
from facodec.config import SAMPLE_RATE
from streaming.wire.protocol import LatencyInfo

KEPT = 2048
"""Durations remembered per stage, a uniform sample of all: 1 % of error at the median."""

STAGES = (
    "capture",
    "denoise",
    "look-ahead",
    "encode",
    "network",
    "queue",
    "decode",
    "playout",
    "sum",
)
MEANING = {
    "capture": "sound card and packet, until it is sent",
    "denoise": "delay of --denoise",
    "look-ahead": "the codec's own, frame included",
    "encode": "computing",
    "network": "both ways, sockets included",
    "queue": "waiting for the model",
    "decode": "computing",
    "playout": "jitter buffer and sound card",
    "sum": "all of it",
}


class Reservoir:
    """A uniform random sample of a stream of values (Vitter's algorithm R, 1985)."""

    def __init__(self, capacity: int = KEPT, seed: int = 0) -> None:
        self.count = 0
        self._capacity = capacity
        self._values: list[float] = []
        self._random = random.Random(seed)

    def add(self, value: float) -> None:
        self.count += 1
        if len(self._values) < self._capacity:
            self._values.append(value)
        else:
            place = self._random.randrange(self.count)
            if place < self._capacity:
                self._values[place] = value

    def quantile(self, fraction: float) -> float | None:
        """The value that ``fraction`` of all lie below; None before the first."""
        if not self._values:
            return None
        ordered = sorted(self._values)
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


class Ledger:
    """Durations in s by stage."""

    def __init__(self) -> None:
        self._stages = {stage: Reservoir() for stage in STAGES}

    def add(self, stage: str, seconds: float) -> None:
        """Raises KeyError for a stage that is none of :data:`STAGES`."""
        self._stages[stage].add(seconds)

    def book(
        self,
        times: Times,
        latency: LatencyInfo,
        decoding: float,
        playout: float | None,
        *,
        packet_wait: float,
        computes: bool,
    ) -> None:
        """Books where the newest input of a packet that came spent its time. ``decoding``: of it
        here, ``playout``: until it is heard, ``packet_wait``: of its first frame for the last, s;
        ``computes``: whether this end encodes and decodes."""
        if times.captured is None:
            return
        stamps = times.stamps
        look_ahead = (latency.encoder + latency.decoder) / SAMPLE_RATE
        on_the_way = times.arrived - (times.sent if times.sent is not None else times.captured)
        served = stamps.queue + stamps.encode + stamps.decode
        self.add("look-ahead", look_ahead)
        self.add("queue", stamps.queue)
        if not computes or times.sent is None:
            self.add("encode", stamps.encode)
        self.add("decode", decoding if computes else stamps.decode)
        self.add("network", max(0.0, on_the_way - served))
        if playout is not None:
            self.add("playout", playout)
        total = times.arrived - times.captured + look_ahead + decoding + (playout or 0.0)
        self.add("sum", total + packet_wait)

    def as_dict(self) -> dict[str, dict[str, float | int]]:
        """{stage: {p50_ms, p95_ms, count}} of the stages that were seen."""
        table: dict[str, dict[str, float | int]] = {}
        for stage, reservoir in self._stages.items():
            middle, high = reservoir.quantile(0.5), reservoir.quantile(0.95)
            if middle is not None and high is not None:
                table[stage] = {
                    "p50_ms": round(middle * 1000, 2),
                    "p95_ms": round(high * 1000, 2),
                    "count": reservoir.count,
                }
        return table

    def brief(self) -> str:
        """The sum in one phrase."""
        total = self.as_dict().get("sum")
        return f"{total['p50_ms']:.0f}/{total['p95_ms']:.0f} ms" if total else "-"

    def table(self) -> str:
        """A table for people; stages that do not occur are left out, "" if none did."""
        rows = [f"{'latency':<12}{'p50 ms':>8}{'p95 ms':>8}"]
        for stage, row in self.as_dict().items():
            rows.append(f"{stage:<12}{row['p50_ms']:>8.1f}{row['p95_ms']:>8.1f}   {MEANING[stage]}")
        return "\n".join(rows) if len(rows) > 1 else ""
