"""The attacks' table in a document: bounds and figures, before and after, filled in by a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.attacks.checks import COMMON
from benchmarks.present import Table

OPENING, CLOSING = "<!-- attacks -->\n", "<!-- end -->"
COLUMNS = ("attack", "what it does", "bound", "before", "after")
NOTHING = "–"


def fill(document: Path, column: str, attacks: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes what a run gave into the column ``before`` or ``after`` of the table between the
    document's markers; other rows and the other column stay. Raises ValueError without markers,
    OSError where the document cannot be read or written."""
    text = document.read_text()
    head, opening, rest = text.partition(OPENING)
    table, closing, tail = rest.partition(CLOSING)
    if not (opening and closing):
        raise ValueError(f"expected {OPENING.strip()} and {CLOSING} in {document}, got none")
    rows = _rows(table)
    for name, attack in attacks.items():
        row = rows.setdefault(name, [name, NOTHING, NOTHING, NOTHING, NOTHING])
        row[1], row[2] = attack["summary"], _bounds(attack)
        row[COLUMNS.index(column)] = _figures(attack)
    made = Table("attacks", "", COLUMNS, list(rows.values())).markdown()
    document.write_text(f"{head}{opening}\n{made}\n\n{closing}{tail}")


def _rows(table: str) -> dict[str, list[str]]:
    """The rows of a table in Markdown, by their first cell."""
    lines = [line.strip().strip("|") for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines[2:]]
    return {row[0]: row for row in cells if len(row) == len(COLUMNS)}


def _bounds(attack: Mapping[str, Any]) -> str:
    own = [c for c in attack["checks"] if c["what"] not in COMMON]
    return "; ".join(f"{c['what']}: {c['bound_text']}" for c in own) or NOTHING


def _figures(attack: Mapping[str, Any]) -> str:
    """The figures, those that did not hold in bold."""
    if "failed" in attack:
        return f"**{attack['failed']}**"
    shown = [c for c in attack["checks"] if c["what"] not in COMMON or not c["held"]]
    parts = [_marked(_short(c), bool(c["held"])) for c in shown]
    named = {c["what"] for c in shown}
    lag, memory = attack.get("lag_ms"), attack.get("memory_mib")
    if lag and "lag p99" not in named:
        parts.append(f"lag {lag['p99']:.0f} ms")
    if memory and "server grows" not in named:
        parts.append(f"{memory['growth']:+.0f} MiB")
    return "; ".join(parts) or NOTHING


def _short(check: Mapping[str, Any]) -> str:
    if check["what"] in COMMON:
        return f"{check['what']} {check['figure_text']}"
    return str(check["figure_text"])


def _marked(text: str, held: bool) -> str:
    return text if held else f"**{text}**"
