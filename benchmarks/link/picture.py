"""A picture of small charts beside each other, over one axis."""

from __future__ import annotations

import io
from collections.abc import Sequence

from benchmarks.kit.present import Chart

COLUMNS = 2


def small_multiples(charts: Sequence[Chart]) -> str:
    """Charts of dots over the same axes as an SVG document. Raises ImportError where matplotlib is
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
            axis.plot(xs, ys, ".", markersize=3, label=name)
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
