"""Figures that an attack is judged by, each beside its bound."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.kit.present import show

LAG_MS = 100.0
"""Bound of the 99th percentile of the undisturbed sessions' lag, beside any attack. Without one it
is some 20 ms, on a machine that attackers, clients and server share; a listener's playout buffer
takes 100 ms without a word being lost."""
TIMES_BEFORE = 2.0
"""The bound is so many times the lag just before the attack where that is more: a machine that is
busy with other things is not the attacker's doing."""
GROWTH_MIB = 64.0
"""Bound of what an attack makes the server grow by: the queues of the sessions it may have."""

COMMON = ("lag p99", "sessions that end well", "frames lost or changed", "server grows")
"""Names of the checks that stand beside every attack."""


@dataclass(frozen=True)
class Check:
    """``what`` is bounded, its ``figure`` and ``bound`` in ``unit``. ``least``: the bound is a
    lowest value. ``beyond``: the figure is only known to be more than this."""

    what: str
    figure: float | None
    bound: float
    unit: str = ""
    least: bool = False
    beyond: bool = False

    @property
    def held(self) -> bool:
        if self.figure is None:
            return False
        if self.least:
            return self.figure >= self.bound
        return self.figure <= self.bound and not self.beyond

    @property
    def bound_text(self) -> str:
        if self.least and self.unit == f"of {self.bound:.0f}":
            return f"all {self.bound:.0f}"
        if not self.least and self.bound == 0:
            return f"none {self.unit}".strip()
        return f"{'at least' if self.least else 'at most'} {self._number(self.bound)}"

    @property
    def figure_text(self) -> str:
        if self.figure is None:
            return "not measured"
        return f"{'more than ' if self.beyond else ''}{self._number(self.figure)}"

    def _number(self, value: float) -> str:
        shown = f"{value:,.0f}" if value == int(value) else show(float(value))
        return f"{shown} {self.unit}".strip()

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON value, ``held`` and the texts included."""
        return {
            **asdict(self),
            "held": self.held,
            "bound_text": self.bound_text,
            "figure_text": self.figure_text,
        }


def of_tries(what: str, welcome: int, tries: int) -> Check:
    """Check that nine in ten of the tries succeed, as one may meet a moment's full queue."""
    return Check(what, welcome, -(-9 * tries // 10), f"of {tries}", least=True)


def share(what: str, part: int, whole: int) -> Check:
    """All of them must."""
    return Check(what, part, whole, f"of {whole}", least=True)
