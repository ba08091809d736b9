"""Benchmarks of the codec and its server: quality, speed, capacity, and what attackers can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facodec import __version__, lazy

if TYPE_CHECKING:
    from benchmarks.cli import run
    from benchmarks.kit.statistics import paired_ratio, percentiles, undisturbed_ratio
    from benchmarks.registry import PARTS, parse
    from benchmarks.report.page import page, text

__all__ = [
    "PARTS",
    "__version__",
    "page",
    "paired_ratio",
    "parse",
    "percentiles",
    "run",
    "text",
    "undisturbed_ratio",
]

__getattr__ = lazy.attributes(
    __name__,
    {
        "PARTS": "benchmarks.registry",
        "page": "benchmarks.report.page",
        "paired_ratio": "benchmarks.kit.statistics",
        "parse": "benchmarks.registry",
        "percentiles": "benchmarks.kit.statistics",
        "run": "benchmarks.cli",
        "text": "benchmarks.report.page",
        "undisturbed_ratio": "benchmarks.kit.statistics",
    },
)
