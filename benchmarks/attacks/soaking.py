"""Figures of a long run: a slope that no single step decides, lag by the minute, their plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.training.pictures import save_figure

FITTED = 400
"""Points a slope is told from: the median over all pairs of more of them takes long."""
SPANS = 60
"""Parts of a run that lag is told of."""


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median slope of all pairs of points (x, y), Theil and Sen's: it takes a third of wild
    points without being moved by them. Raises ValueError for fewer than two."""
    if len(points) < 2:
        raise ValueError(f"expected at least 2 points for a slope, got {len(points)}")
    chosen = np.asarray(points, np.float64)[:: -(-len(points) // FITTED)]
    first, second = np.triu_indices(len(chosen), k=1)
    apart = chosen[second] - chosen[first]
    return float(np.median(apart[:, 1] / apart[:, 0]))


def lag_over_time(
    seconds: NDArray[np.float64], lags_ms: NDArray[np.float64]
) -> list[dict[str, float]]:
    """Lag by parts of the run, each {second, p50, p99, max} with the second in its middle.
    ``seconds`` (n,): when each frame was due; ``lags_ms`` (n,)."""
    edges = np.linspace(0.0, float(seconds.max()) + 1e-9, SPANS + 1)
    parts = np.clip(np.searchsorted(edges, seconds, "right") - 1, 0, SPANS - 1)
    told = []
    for part in range(SPANS):
        times = lags_ms[parts == part]
        if times.size:
            p50, p99, most = np.percentile(times, (50, 99, 100))
            middle = float(edges[part] + edges[part + 1]) / 2
            row = {"second": middle, "p50": p50, "p99": p99, "max": most}
            told.append({name: round(float(value), 2) for name, value in row.items()})
    return told


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Lag above, memory below, over the minutes of a run. Raises ImportError where matplotlib is
    missing."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(9, 6), sharex=True, layout="constrained"
    )
    rows = result.get("lag_over_time", [])
    minutes = [row["second"] / 60 for row in rows]
    for name in ("p50", "p99", "max"):
        above.plot(minutes, [row[name] for row in rows], linewidth=1.2, label=name)
    above.set_yscale("log")
    above.set_ylabel("lag of undisturbed sessions, ms")
    if rows:
        above.legend(fontsize=8)
    memory = result.get("memory", [])
    below.plot([s / 60 for s, _ in memory], [mib for _, mib in memory], linewidth=1.0)
    below.axvline(result.get("warm_up_s", 0.0) / 60, color="0.4", linestyle="--", linewidth=1)
    told = result.get("slope_mib_h")
    if told is not None:
        below.set_title(f"{told:+.1f} MiB/h after the dashed line", loc="right", fontsize=9)
    below.set_ylabel("server's memory, MiB")
    below.set_xlabel("minutes")
    for axis in (above, below):
        axis.grid(alpha=0.25)
    save_figure(figure, path)
    pyplot.close(figure)
