"""A soak accounts for every frame, tells growth from noise, and keeps what there is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.attacks.soaking import lag_over_time, slope
from benchmarks.parts import soak
from clients.cli import main


def test_a_slope_is_not_moved_by_wild_points() -> None:
    random = np.random.default_rng(0)
    points = [(float(s), 400 + 0.01 * s + random.normal(0, 0.1)) for s in range(1000)]
    for at in range(0, 1000, 5):
        points[at] = (points[at][0], 900.0)
    assert slope(points) == pytest.approx(0.01, rel=0.1)
    with pytest.raises(ValueError, match="at least 2"):
        slope(points[:1])


def test_lag_is_told_by_parts_of_the_run() -> None:
    seconds = np.arange(0, 60, 0.1)
    rows = lag_over_time(seconds, np.where(seconds < 30, 10.0, 20.0))
    assert len(rows) == 60 and rows[0]["p50"] == 10.0 and rows[-1]["max"] == 20.0
    assert rows[0]["second"] < rows[1]["second"] < 60


def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "soak", "--minutes", "0.12", "--out", str(tmp_path / "out"), "--json"]
    assert main(words) in (0, soak.NOT_HELD)
    told = json.loads(capsys.readouterr().out)
    account = told["undisturbed"]
    assert account["sent"] == account["received"] > 4 * 80 * 5
    assert (account["lost"], account["misnumbered"], account["inexact"]) == (0, 0, 0)
    assert account["outcomes"] == {"done": 4}
    assert set(told["disturbers"]) == set(soak.DISTURBERS)
    assert all(counts["opened"] > 0 for counts in told["disturbers"].values())
    assert told["slope_mib_h"] is None and len(told["memory"]) >= 5
    assert told["lag_over_time"] and told["health"]["sessions_total"]
    assert told["complete"]
    kept = json.loads((tmp_path / "out" / "soak.json").read_text())
    assert kept["undisturbed"] == account
    assert (tmp_path / "out" / "soak.svg").read_text().count("<svg") == 1
    first, second = soak.tables(told)
    assert {row[0] for row in first.rows} >= {"lag p99", "frames lost or changed"}
    assert {row[0] for row in second.rows} == set(soak.DISTURBERS)


def test_ctrl_c_keeps_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = soak._watch

    def interrupted(server, seconds, began, memory):  # type: ignore[no-untyped-def]
        watch(server, 3.0, began, memory)
        raise KeyboardInterrupt

    monkeypatch.setattr(soak, "_watch", interrupted)
    assert main(["bench", "soak", "--minutes", "1", "--out", str(tmp_path), "--json"]) == 130
    told = json.loads(capsys.readouterr().out)
    assert not told["complete"] and told["undisturbed"]["lost"] == 0
    assert told["undisturbed"]["sent"] > 0 and (tmp_path / "soak.json").exists()
