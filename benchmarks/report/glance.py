"""A report's figures at a glance: how fast, how many at once, how soon, how large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.kit.present import Cell, Table
from benchmarks.kit.statistics import HOP_MS, most_streams

Results = dict[str, Any]
"""The results of a report's parts, by key."""
Value = float | None


@dataclass(frozen=True)
class Figure:
    """``measured``: from the results, None where they do not tell. ``of_a_hop``: ms to compute what
    12.5 ms of speech need."""

    name: str
    measured: Callable[[Results], Value]
    of_a_hop: bool = False

    def row(self, results: Results) -> list[Cell]:
        """Name, what was measured, and how that compares with real time."""
        found = self.measured(results)
        if found is None:
            return [self.name, None, "not measured"]
        return [self.name, found, f"{HOP_MS / found:.3g} times" if self.of_a_hop else None]


def table(results: Results) -> Table:
    """Every figure, as far as it was measured."""
    return Table(
        "glance",
        "At a glance",
        ("what", "measured", "faster than speech"),
        [figure.row(results) for figure in FIGURES],
        note=f"A hop is {HOP_MS:g} ms of speech; its ms are those of encoding and decoding it.",
    )


def hop(
    key: str, batch: int, hops: int, backends: tuple[str, ...] | None = None
) -> Callable[[Results], Value]:
    """Median ms of encode + decode per stream and hop, by the fastest of some backends (of all)."""

    def measured(results: Results) -> Value:
        cases = results.get(key, {}).get("cases", [])
        sums = [
            (encode["call_ms"]["p50"] + decode["call_ms"]["p50"]) / hops / batch
            for encode, decode in zip(cases[::2], cases[1::2], strict=True)
            if (encode["batch"], encode["hops"]) == (batch, hops)
            and (backends is None or encode["backend"] in backends)
        ]
        return min(sums, default=None)

    return measured


def sessions(results: Results) -> Value:
    """Sessions that one server held."""
    load = results.get("load", {})
    return float(load["holds"]) if load.get("levels") else None


def seconds(program: str) -> Callable[[Results], Value]:
    """Median s that a start took."""

    def measured(results: Results) -> Value:
        row = results.get("startup", {}).get("starts_s", {}).get(program)
        return float(row["p50"]) if row else None

    return measured


def state(results: Results) -> Value:
    """KiB that a stream of the bundled model keeps, both sides."""
    sizes = results.get("startup", {}).get("state_bytes")
    return sum(sizes.values()) / 1024 if sizes else None


def gpu_tick(results: Results) -> Value:
    """Median ms of a tick of one full-size stream, at the fastest precision."""
    ticks = results.get("gpu", {}).get("ticks", [])
    ours = [t for t in ticks if t["model"] == "ns3" and t["streams"] == 1 and t["captured"]]
    return min((tick["replayed_ms"]["p50"] for tick in ours), default=None)


def gpu_streams(results: Results) -> Value:
    """Most full-size streams whose tick fitted into a hop."""
    ticks = results.get("gpu", {}).get("ticks", [])
    ours = [tick for tick in ticks if tick["model"] == "ns3" and tick["captured"]]
    return float(max(most_streams(ours).values())) if ours else None


FIGURES = (
    Figure("live, fastest backend, one stream, one hop a call, ms", hop("step", 1, 1), True),
    Figure(
        "live, fastest backend, 16 streams a call, ms per stream and hop", hop("step", 16, 1), True
    ),
    Figure("full-duplex live sessions held on this machine", sessions),
    Figure("ns3 in float32, one hop a call, ms", hop("step_ns3", 1, 1, ("float32",)), True),
    Figure(
        "ns3 in bf16 or int8, one hop a call, ms", hop("step_ns3", 1, 1, ("bf16", "int8")), True
    ),
    Figure("ns3, fastest backend, four hops a call, ms per hop", hop("step_ns3", 1, 4), True),
    Figure("ns3 on a GPU, one stream, ms a tick", gpu_tick, True),
    Figure("ns3 on a GPU, streams within a hop", gpu_streams),
    Figure("import with torch, s", seconds("import facodec, torch too")),
    Figure("facodec --help, s", seconds("facodec --help")),
    Figure("server ready with live, s", seconds("server ready")),
    Figure("state of a live stream, KiB", state),
)
