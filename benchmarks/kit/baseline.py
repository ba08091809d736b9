"""A regression check that survives another hour and another machine: what is kept and compared is
the time of each step over that of a calibration kernel which took turns with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.kit.common import write_json
from benchmarks.kit.present import Table
from facodec.files import LARGEST_TEXT, read_json
from facodec.reasons import shown

FORMAT = 1
BUNDLED = Path(__file__).with_name("baseline.json")
"""Ratios of this version of the code."""
Ratios = dict[str, float]


def ratios(cases: list[dict[str, Any]]) -> Ratios:
    """Ratio to the calibration kernel of every case, by a name that says which."""
    return {
        f"{c['model']} {c['backend']} {c['side']} batch {c['batch']} hops {c['hops']}": round(
            c["to_calibration"], 4
        )
        for c in cases
    }


def save(path: Path, found: Ratios) -> None:
    """Keeps ratios in a file."""
    write_json(path, {"format": FORMAT, "to_calibration": found})


def load(path: Path) -> Ratios:
    """Reads the file of :func:`save`. Raises FileError where there is none, ValueError for anything
    else."""
    value = read_json(path, LARGEST_TEXT)
    try:
        if value["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {value['format']}")
        return {str(name): float(ratio) for name, ratio in value["to_calibration"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{shown(path)} is no baseline of facodec bench step: {error}") from error


def compare(found: Ratios, kept: Ratios, tolerance: float) -> dict[str, Any]:
    """``cases``: name -> kept, found, and found over kept; ``slower``: names beyond the tolerance.

    Raises ValueError for a tolerance that is not above 1, or where nothing can be compared."""
    if not tolerance > 1:
        raise ValueError(f"expected a tolerance of more than 1, got {tolerance:g}")
    common = [name for name in found if name in kept]
    if not common:
        raise ValueError("expected a baseline of the same options, got none of the cases measured")
    cases = {
        name: {"kept": kept[name], "found": found[name], "change": found[name] / kept[name]}
        for name in common
    }
    slower = [name for name, case in cases.items() if case["change"] > tolerance]
    return {"tolerance": tolerance, "cases": cases, "slower": slower}


def table(comparison: dict[str, Any]) -> Table:
    """The comparison, slowest first."""
    ordered = sorted(comparison["cases"].items(), key=lambda item: -item[1]["change"])
    slower = comparison["slower"]
    verdict = (
        f"Slower by more than {comparison['tolerance']:g} times: {', '.join(slower)}."
        if slower
        else f"Nothing is slower by more than {comparison['tolerance']:g} times."
    )
    return Table(
        "baseline",
        "Times over the calibration kernel's, against the stored baseline",
        ("case", "baseline", "now", "change"),
        [[name, case["kept"], case["found"], case["change"]] for name, case in ordered],
        verdict,
    )
