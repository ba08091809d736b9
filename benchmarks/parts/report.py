"""``facodec bench report``: the page, the summary and documents' tables from an earlier report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.kit.common import add_common
from clients.audio.files import keep_apart
from facodec.files import LARGEST_TEXT, read_json, write_text
from facodec.reasons import shown

EXAMPLES = """\
  facodec bench report bench-report/report.json                        the summary again
  facodec bench report bench-report/report.json --docs docs/costs.md   fill in the tables there
  facodec bench report bench-report/report.json --html page.html
  facodec bench report bench-report/report.json --save-baseline benchmarks/kit/baseline.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES, seed=False)
    parser.add_argument("report", type=Path, metavar="REPORT.json")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="a document with markers")
    parser.add_argument(
        "--save-baseline", type=Path, metavar="FILE",
        help="keep the steps' ratios to the calibration, for facodec bench step --baseline",
    )  # fmt: skip
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page there")


def run(args: argparse.Namespace) -> int:
    keep_apart([args.html, args.docs, args.save_baseline], [args.report])
    made = load(args.report)
    try:
        return _write(args, made)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{shown(args.report)} is damaged: {error!r}") from error


def _write(args: argparse.Namespace, made: dict[str, Any]) -> int:
    from benchmarks.kit import baseline
    from benchmarks.report import page as report

    if args.html:
        write_text(args.html, report.page(made))
    if args.docs:
        missing = report.fill(args.docs, made)
        if missing:
            print(f"{args.docs}: nothing in this report for {', '.join(missing)}")
    if args.save_baseline:
        cases = [c for part in made["parts"].values() for c in part["result"].get("cases", [])]
        baseline.save(args.save_baseline, baseline.ratios(cases))
    print(json.dumps(made) if args.json else report.text(made))
    return 0


def load(path: Path) -> dict[str, Any]:
    """An earlier report. Raises FileError where there is none, ValueError for anything else."""
    from benchmarks.report.page import FORMAT

    made = read_json(path, LARGEST_TEXT)
    if not isinstance(made, dict) or made.get("format") != FORMAT or "parts" not in made:
        raise ValueError(f"{shown(path)} is no report of facodec bench in format {FORMAT}")
    return dict(made)
