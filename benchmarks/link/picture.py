"""A picture of small charts beside each other, over one axis."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from benchmarks.kit.present import Chart

COLUMNS = 2
BREAK = 0.5
"""Distance on the x axis over which no line is drawn."""


def _broken(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """The line with a break wherever nothing is known for a while."""
    points: list[tuple[float, float]] = []
    for x, y in sorted(zip(xs, ys, strict=True)):
        if points and x - points[-1][0] > BREAK:
            points.append((x, math.nan))
        points.append((x, y))
    return [x for x, _ in points], [y for _, y in points]


def small_multiples(charts: Sequence[Chart]) -> str:
    """Charts of lines over the same axes as an SVG document. Raises ImportError where matplotlib is
    missing."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = max(1, -(-len(charts) // COLUMNS))
    figure, axes = pyplot.subplots(
        rows, COLUMNS, sharex=True, sharey=True, squeeze=False, layout="constrained",
        figsize=(9, 2.1 * rows + 0.4),
    )  # fmt: skip
    for axis in axes.flat[len(charts) :]:
        axis.set_axis_off()
    for axis, chart in zip(axes.flat, charts, strict=False):
        for name, (xs, ys) in chart.lines.items():
            axis.plot(*_broken(xs, ys), linewidth=1.2, label=name)
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_title(chart.title, loc="left", fontsize=9)
        axis.grid(alpha=0.25)
    for axis in axes[-1]:
        axis.set_xlabel("s")
    for axis in axes[:, 0]:
        axis.set_ylabel("delay, ms")
    if charts:
        axes[0, 0].legend(fontsize=8)
    drawn = io.StringIO()
    with pyplot.rc_context({"svg.hashsalt": "link", "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return drawn.getvalue()
