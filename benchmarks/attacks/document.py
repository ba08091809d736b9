"""The attacks' table in a document: bounds and figures, before and after, filled in by a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.attacks.checks import COMMON
from benchmarks.kit.present import Table
from facodec.files import LARGEST_TEXT, read_text, write_text

OPENING, CLOSING = "<!-- attacks -->\n", "<!-- end -->"
COLUMNS = ("attack", "what it does", "bound", "before", "after")
NOTHING = "–"
MEASURED = ("lag p99", "server grows")


def fill(document: Path, column: str, attacks: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes what a run gave into the column ``before`` or ``after`` of the table between the
    document's markers; other rows and the other column stay. Raises ValueError without markers,
    OSError where the document cannot be read or written."""
    text = read_text(document, LARGEST_TEXT)
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
    write_text(document, f"{head}{opening}\n{made}\n\n{closing}{tail}")


def _rows(table: str) -> dict[str, list[str]]:
    """The rows of a table in Markdown, by their first cell."""
    lines = [line.strip().strip("|") for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines[2:]]
    return {row[0]: row for row in cells if len(row) == len(COLUMNS)}


def _bounds(attack: Mapping[str, Any]) -> str:
    own = [c for c in attack["checks"] if c["what"] not in COMMON]
    return "; ".join(f"{c['what']}: {c['bound_text']}" for c in own) or NOTHING


def _figures(attack: Mapping[str, Any]) -> str:
    """The attack's own figures, then lag and memory; those that did not hold in bold."""
    if "failed" in attack:
        return f"**{attack['failed']}**"
    parts = [
        _marked(_short(c), bool(c["held"]))
        for c in attack["checks"]
        if c["what"] not in MEASURED and (c["what"] not in COMMON or not c["held"])
    ]
    held = {check["what"]: bool(check["held"]) for check in attack["checks"]}
    lag, before, memory = (attack.get(n) for n in ("lag_ms", "lag_before_ms", "memory_mib"))
    if lag:
        parts.append(_marked(f"lag {lag['p99']:,.0f} ms", held.get("lag p99", False)))
        parts[-1] += f" ({before['p99']:.0f})" if before else ""
    if memory:
        grown = f"{memory['growth']:+.0f} MiB"
        parts.append(_marked(grown, held.get("server grows", False)))
    return "; ".join(parts) or NOTHING


def _short(check: Mapping[str, Any]) -> str:
    if check["what"] in COMMON:
        return f"{check['what']} {check['figure_text']}"
    return str(check["figure_text"])


def _marked(text: str, held: bool) -> str:
    return text if held else f"**{text}**"
