"""A short fuzz of each door; ``facodec bench fuzz --inputs 20000`` is a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.parts import fuzz
from benchmarks.parts.fuzz import DOORS, Door, Report


@pytest.mark.parametrize("door", DOORS)
def test_every_input_is_read_or_refused_with_a_sentence(door: str) -> None:
    report = fuzz.fuzz(door, 150, seed=1)
    assert report.passed, report.failures[:3]
    assert report.inputs == report.taken + report.refused == 150 and report.refused > 20


def test_a_door_with_a_hole_fails(tmp_path: Path) -> None:
    report, door = Report("x"), Door([], lambda path: path.read_text(), (FileNotFoundError,))
    (tmp_path / "x").write_bytes(b"\xff")
    fuzz._try(door, tmp_path / "none", report)
    fuzz._try(door, tmp_path / "x", report)
    assert (report.inputs, report.refused, len(report.failures)) == (2, 1, 1)
    assert "UnicodeDecodeError" in report.failures[0] and not report.passed
