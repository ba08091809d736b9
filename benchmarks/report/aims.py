"""What this codec aims at, beside what a report measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.kit.present import Cell, Table

Results = dict[str, Any]
"""The results of a report's parts, by key."""
Value = float | None


@dataclass(frozen=True)
class Aim:
    """``measured``: from the results, None where they do not tell. ``at_least``: more is better."""

    name: str
    wanted: float
    measured: Callable[[Results], Value]
    at_least: bool = False

    def row(self, results: Results) -> list[Cell]:
        """Name, what is wanted, what was measured, and the verdict."""
        found = self.measured(results)
        sign = "at least" if self.at_least else "at most"
        if found is None:
            return [self.name, f"{sign} {self.wanted:g}", None, "not measured"]
        met = found >= self.wanted if self.at_least else found <= self.wanted
        gap = self.wanted / found if self.at_least and found else found / self.wanted
        verdict = "yes" if met else f"no, by a factor of {gap:.2f}"
        return [self.name, f"{sign} {self.wanted:g}", found, verdict]


def table(results: Results) -> Table:
    """Every aim, and how far it is."""
    return Table(
        "aims",
        "Aims, and what was measured",
        ("aim", "wanted", "measured", "met"),
        [aim.row(results) for aim in AIMS],
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
    from benchmarks.parts.gpu import most_streams

    ticks = results.get("gpu", {}).get("ticks", [])
    ours = [tick for tick in ticks if tick["model"] == "ns3" and tick["captured"]]
    return float(max(most_streams(ours).values())) if ours else None


AIMS = (
    Aim("live, fastest backend, one stream, one hop a call, ms", 1.0, hop("step", 1, 1)),
    Aim(
        "live, fastest backend, 16 streams a call, ms per stream and hop", 0.25, hop("step", 16, 1)
    ),
    Aim("full-duplex live sessions held on two cores", 32, sessions, at_least=True),
    Aim("ns3 in float32, one hop a call, ms", 25.0, hop("step_ns3", 1, 1, ("float32",))),
    Aim("ns3 in bf16 or int8, one hop a call, ms", 12.5, hop("step_ns3", 1, 1, ("bf16", "int8"))),
    Aim("ns3, fastest backend, four hops a call, ms per hop", 6.0, hop("step_ns3", 1, 4)),
    Aim("ns3 on a GPU, one stream, ms a tick", 2.0, gpu_tick),
    Aim("ns3 on a GPU, streams within a hop", 1000, gpu_streams, at_least=True),
    Aim("import with torch, s", 1.5, seconds("import facodec, torch too")),
    Aim("facodec --help, s", 0.3, seconds("facodec --help")),
    Aim("server ready with live, s", 3.0, seconds("server ready")),
    Aim("state of a live stream, KiB", 64.0, state),
)
