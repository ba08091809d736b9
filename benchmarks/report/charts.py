"""Line charts for reports and documents, drawn without a screen."""

from __future__ import annotations

import io

from benchmarks.kit.present import Chart


def line_chart(chart: Chart) -> str:
    """The chart as an ``<svg>`` element, to stand in a page. Raises ImportError where matplotlib
    is missing."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, ScalarFormatter

    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name, (xs, ys) in chart.lines.items():
        axis.plot(xs, ys, marker="o", markersize=4, linewidth=1.4, label=name)
    for name, y in chart.limits.items():
        axis.axhline(y, color="0.4", linestyle="--", linewidth=1)
        axis.annotate(name, (1, y), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                      fontsize=8, color="0.3")  # fmt: skip
    if chart.log_x:
        axis.set_xscale("log", base=2)
    axis.set_xticks(sorted({x for xs, _ in chart.lines.values() for x in xs}))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    if chart.log_y:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
    else:
        axis.set_ylim(bottom=0)
    axis.minorticks_off()
    axis.set_title(chart.title, loc="left", fontsize=11)
    axis.set_xlabel(chart.x_label)
    axis.set_ylabel(chart.y_label)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)
    drawn = io.StringIO()
    with pyplot.rc_context({"svg.hashsalt": chart.name, "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return drawn.getvalue().partition("<svg")[1] + drawn.getvalue().partition("<svg")[2]
