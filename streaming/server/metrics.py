"""Counters and recent durations of a server, as JSON and as Prometheus text."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

RECENT = 2048
"""Durations kept for the percentiles; older ones are forgotten."""
QUANTILES = (50, 95, 99)


class Durations:
    """The latest durations of one kind, seconds; so many ``recent`` ones."""

    def __init__(self, recent: int = RECENT) -> None:
        self._recent: deque[float] = deque(maxlen=recent)

    def add(self, seconds: float) -> None:
        self._recent.append(seconds)

    def percentiles(self) -> dict[str, float]:
        """{"p50": ms, "p95": ms, "p99": ms}; empty before the first duration."""
        if not self._recent:
            return {}
        values = np.percentile(np.fromiter(self._recent, float), QUANTILES) * 1000.0
        return {f"p{q}": round(float(v), 3) for q, v in zip(QUANTILES, values, strict=True)}


@dataclass
class Metrics:
    """Counters of a server since it started. Only the event loop touches it.

    ``sessions`` by role, ``errors`` by code, ``refused`` by HTTP status. ``returned``: times that a
    client came back to its session. ``paused``: times a full queue stopped the reading of a socket.
    ``left_out``: frames not sent to who listens live, as the connection was behind. ``queue``: wait
    for the model, ``compute``: in it, a
    turn (at most 100 ms of audio) each.
    """

    sessions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    frames_in: int = 0
    frames_out: int = 0
    paused: int = 0
    returned: int = 0
    left_out: int = 0
    queue: Durations = field(default_factory=Durations)
    compute: Durations = field(default_factory=Durations)

    def to_json(self) -> dict[str, Any]:
        """A JSON value; durations in ms."""
        return {
            "sessions_total": dict(self.sessions),
            "errors_total": dict(self.errors),
            "refused_total": dict(self.refused),
            "frames_in_total": self.frames_in,
            "frames_out_total": self.frames_out,
            "paused_total": self.paused,
            "returned_total": self.returned,
            "left_out_total": self.left_out,
            "queue_ms": self.queue.percentiles(),
            "compute_ms": self.compute.percentiles(),
        }

    def to_prometheus(self, gauges: Mapping[str, float]) -> str:
        """The text exposition format; ``gauges`` are added as they are."""
        lines: list[str] = []
        for name, value in gauges.items():
            lines += _metric(name, "gauge", {"": value})
        for name, label, counts in (
            ("sessions_total", "role", self.sessions),
            ("errors_total", "code", self.errors),
            ("refused_total", "status", self.refused),
        ):
            by_label = {f'{{{label}="{key}"}}': count for key, count in sorted(counts.items())}
            lines += _metric(name, "counter", by_label)
        lines += _metric("frames_in_total", "counter", {"": self.frames_in})
        lines += _metric("frames_out_total", "counter", {"": self.frames_out})
        lines += _metric("paused_total", "counter", {"": self.paused})
        lines += _metric("returned_total", "counter", {"": self.returned})
        lines += _metric("left_out_total", "counter", {"": self.left_out})
        for name, durations in (("queue", self.queue), ("compute", self.compute)):
            by_quantile = {
                f'{{quantile="0.{key[1:]}"}}': ms / 1000.0
                for key, ms in durations.percentiles().items()
            }
            lines += _metric(f"{name}_seconds", "gauge", by_quantile)
        return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, values: Mapping[str, float]) -> list[str]:
    return [f"# TYPE facodec_{name} {kind}"] + [
        f"facodec_{name}{labels} {value:g}" for labels, value in values.items()
    ]
