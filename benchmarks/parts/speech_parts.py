"""The parts that need speech, quality and voice, run as their own commands for the report."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.kit.common import Result
from benchmarks.kit.present import Cell, Table
from benchmarks.kit.processes import CLI


def measure(part: str, words: tuple[str, ...], out: Path, result: Result) -> None:
    """Fills ``tables``: name -> row -> column -> value. Raises ValueError with what the command
    said where it fails."""
    done = subprocess.run(
        [*CLI, "bench", part, *words, "--json", "--out", str(out / part)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ValueError(said[-1])
    told: dict[str, Any] = json.loads(done.stdout)
    result["told"] = told
    result["tables"] = flat_tables(part, told)
    result["notes"] = told.get("notes", [])


def flat_tables(part: str, told: dict[str, Any]) -> dict[str, Any]:
    """Every level of a JSON value that is a table: rows of the same few numbers."""
    if told and all(_is_row(row) for row in told.values()):
        return {part: told}
    found: dict[str, Any] = {}
    for name, value in told.items():
        if isinstance(value, dict):
            found |= flat_tables(name, value)
    return found


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and all(
        cell is None or isinstance(cell, (int, float, str)) for cell in value.values()
    )


def tables(result: Result) -> list[Table]:
    made = []
    for name, table in result.get("tables", {}).items():
        columns = list(dict.fromkeys(column for row in table.values() for column in row))
        rows: list[list[Cell]] = [[row, *map(cells.get, columns)] for row, cells in table.items()]
        made.append(Table(name, name, ("", *columns), rows))
    return made
