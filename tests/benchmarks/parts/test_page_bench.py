"""The codec's time in a page is measured in a real browser."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks.parts import page
from clients.cli import main
from tests.conftest import missing


def test_the_whole_command(capsys: pytest.CaptureFixture[str]) -> None:
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        missing("chromium")
    assert main(["bench", "page", "--hops", "50", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["hop_ms"]) == {"encode", "decode", "both"}
    assert 0 < told["hop_ms"]["encode"]["p50"] < told["hop_ms"]["both"]["p95"]
    assert told["load_s"] > 0 and 5 < told["fetched_mb"] < 40
    (table,) = page.tables(told)
    assert table.name == "page" and page.tables({}) == []
