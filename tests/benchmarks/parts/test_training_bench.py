"""Speed of training, measured step by step."""

from __future__ import annotations

import json

import pytest

from benchmarks.parts import training
from clients.cli import main


def test_stages_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    words = "bench training --no-fuse --steps 1 --batch 2 --frames 60 --json"
    assert main(words.split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["stage"] for row in told["training"]] == ["decoder", "detail"]
    for row in told["training"]:
        assert row["step_s"] > 0 and 0.0 < row["products"] < 1.0
        assert row["hours_an_hour"] == pytest.approx(2 * 60 / 80 / row["step_s"])
    (table,) = training.tables(told)
    assert [row[1] for row in table.rows] == ["2 x 60", "2 x 60"]
