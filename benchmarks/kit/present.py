"""Results of a part of the benchmark: tables and charts, free of any format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """``name`` is stable (documents refer to it); ``title`` says what was measured and how."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def markdown(self) -> str:
        """The table alone, its columns aligned so that it reads well in a terminal too."""
        cells = [list(map(str, self.columns)), *([show(cell) for cell in r] for r in self.rows)]
        widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(self.columns))]
        lines = [
            "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
            for row in cells
        ]
        lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
        return "\n".join(lines)

    def text(self) -> str:
        """Title, table and note."""
        return "\n".join(filter(None, (self.title, self.markdown(), self.note)))


@dataclass(frozen=True)
class Chart:
    """Lines over a common x axis. ``limits``: horizontal lines, name -> y."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    limits: Mapping[str, float] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False


def show(cell: Cell) -> str:
    """Three digits that count; a dash where there is nothing."""
    if cell is None:
        return "–"
    if isinstance(cell, bool) or not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else str(cell)
    if cell != cell:
        return "–"
    size = abs(cell)
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{cell:,.{digits}f}"
