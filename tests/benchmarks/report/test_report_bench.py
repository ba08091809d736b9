"""One report: the page stands alone, documents are filled in, Ctrl-C keeps what was measured."""

from __future__ import annotations

import argparse
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks import suite
from benchmarks.kit import machine
from benchmarks.kit.present import Chart, Table, show
from benchmarks.parts import wire
from benchmarks.parts.report import load
from benchmarks.parts.speech_parts import flat_tables
from benchmarks.report import glance
from benchmarks.report import page as report
from clients.cli import main
from clients.ending import Terminated

WIRE = {"computed": [wire.compute(n, s) for s in (True, False) for n in wire.SIZES], "measured": []}


@pytest.fixture
def made() -> report.Report:
    """A report with a part that was measured and one that could not be."""
    return {
        "format": report.FORMAT,
        "machine": machine.describe(1),
        "options": {},
        "complete": True,
        "parts": {
            "wire": {
                "command": "facodec bench wire", "module": "wire", "took_s": 1.0,
                "result": {**WIRE, "notes": ["a < b"]},
            },
            "load": {
                "command": "facodec bench load", "module": "load", "took_s": 0.0, "result": {},
                "failed": "no server",
            },
        },
    }  # fmt: skip


class Tags(HTMLParser):
    """Checks that elements close in order, and notes what a page would fetch."""

    VOID = frozenset({"meta", "path", "use", "rect", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v for k, v in attrs if k in ("src", "href") and v and v[0] != "#"]
        if tag not in self.VOID and tag != "li":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and tag != "li":
            assert self.open.pop() == tag


def test_the_page_stands_alone_and_says_everything(made: report.Report, bench_tools: None) -> None:
    page = report.page(made)
    tags = Tags()
    tags.feed(page)
    assert tags.open == [] and tags.fetched == []
    assert "<svg" in page and page.count("<tr>") == 17 + 13
    for said in ("facodec bench wire", "Not measured: no server", "a &lt; b", "torch"):
        assert said in page


def test_tables_are_aligned_markdown() -> None:
    table = Table("x", "X", ("name", "n"), [["a", 1], ["long name", 2.5], ["none", None]])
    assert table.markdown().splitlines() == [
        "| name      | n    |",
        "|-----------|------|",
        "| a         | 1    |",
        "| long name | 2.50 |",
        "| none      | –    |",
    ]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [(0.12345, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234"), (12345, "12,345"),
     (None, "–"), (float("nan"), "–"), ("x", "x"), (-0.5, "-0.500")],
)  # fmt: skip
def test_numbers_show_three_digits(cell: Any, shown: str) -> None:
    assert show(cell) == shown


def test_charts_are_drawn(bench_tools: None) -> None:
    from benchmarks.report.charts import line_chart

    for log in (False, True):
        chart = Chart(
            "c", "Title", "x", "y", {"line": ([1, 2, 4], [3.0, 2.0, 1.0])}, {"limit": 2.5}, log, log
        )
        drawn = line_chart(chart)
        assert drawn.startswith("<svg") and drawn.rstrip().endswith("</svg>")
        assert all(word in drawn for word in ("Title", "line", "limit"))
        assert drawn == line_chart(chart)


def test_documents_are_filled_in_between_markers(
    made: report.Report, tmp_path: Path, bench_tools: None
) -> None:
    document = tmp_path / "costs.md"
    document.write_text(
        "before\n<!-- table wire.wire -->\nold\n<!-- end -->\nbetween\n"
        "<!-- chart wire.wire -->\n<!-- end -->\n"
        "<!-- table load.load -->\nkept\n<!-- end -->\nafter\n"
    )
    assert report.fill(document, made) == ["load.load"]
    text = document.read_text()
    assert "old" not in text and "kept" in text
    assert re.search(r"before\n<!-- table wire.wire -->\n\*.*\n\n\| frames a packet", text)
    assert (
        "![Packet size against wire rate; each frame more adds 12.5 ms](costs-wire-wire.svg)"
        in (text)
    )
    assert (tmp_path / "costs-wire-wire.svg").read_text().startswith("<svg")
    report.fill(document, made)
    assert document.read_text() == text


def test_figures_at_a_glance_beside_real_time(made: report.Report) -> None:
    def case(side: str, p50: float) -> dict[str, Any]:
        return {"batch": 1, "hops": 1, "backend": "float32", "side": side, "call_ms": {"p50": p50}}

    results = {
        "step": {"cases": [case("encode", 0.4), case("decode", 0.5)]},
        "load": {"levels": [{}], "holds": 20},
        "startup": {"state_bytes": {"encoder": 50 * 1024, "decoder": 20 * 1024}},
    }
    rows = {str(row[0]): row[1:] for row in glance.table(results).rows}
    one_stream = rows["live, fastest backend, one stream, one hop a call, ms"]
    assert one_stream == [pytest.approx(0.9), "13.9 times"]
    assert rows["full-duplex live sessions held on this machine"] == [20.0, None]
    assert rows["state of a live stream, KiB"] == [70.0, None]
    assert rows["facodec --help, s"] == [None, "not measured"]
    assert all(row[2] == "not measured" for row in report.glance_at(made).rows)


def test_a_page_tells_figures_and_not_what_was_hoped_for(made: report.Report) -> None:
    page = report.page(made).lower()
    assert "at a glance" in page
    assert not re.search(r"\b(aims?|goals?|wanted|verdict)\b", page)


def test_the_report_command(
    made: report.Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(made))
    assert load(path) == made
    page = tmp_path / "page.html"
    for option in ("--html", "--docs", "--save-baseline"):
        assert main(["bench", "report", str(path), option, str(path)]) == 2
        assert "would replace the file that is read" in capsys.readouterr().err
    assert main(["bench", "report", str(path), "--html", str(page)]) == 0
    assert "load: not measured: no server" in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")
    for text, sentence in (("{", "is damaged"), ("{}", "is no report"), ("[]", "is no report")):
        path.write_text(text)
        assert main(["bench", "report", str(path)]) == 1
        assert sentence in capsys.readouterr().err
    assert main(["bench", "report", str(tmp_path / "none.json")]) == 1


def options(out: Path, **changes: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    suite.add_arguments(parser)
    chosen = parser.parse_args(["--quick", "--out", str(out)])
    return argparse.Namespace(**{**vars(chosen), **changes})


@pytest.mark.parametrize(("end", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_signal_keeps_what_was_measured(
    end: type[KeyboardInterrupt], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(args: argparse.Namespace, result: dict[str, Any]) -> None:
        result.update(WIRE)

    def interrupted(args: argparse.Namespace, result: dict[str, Any]) -> None:
        result["starts_s"] = {"python alone": {"p50": 0.1, "p95": 0.2, "p99": 0.2, "count": 1.0}}
        raise end

    monkeypatch.setattr("benchmarks.parts.wire.measure", measured)
    monkeypatch.setattr("benchmarks.parts.startup.measure", interrupted)
    assert suite.run(options(tmp_path, only=["wire", "startup", "load"])) == status
    made = load(tmp_path / "report.json")
    assert list(made["parts"]) == ["wire", "startup"]
    assert made["complete"] is False
    page = (tmp_path / "report.html").read_text()
    assert "Cut short" in page and "python alone" in page and "frames a packet" in page


def test_an_update_keeps_the_other_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: report.Report
) -> None:
    (tmp_path / "report.json").write_text(json.dumps(made))
    monkeypatch.setattr(
        "benchmarks.parts.load.measure", lambda args, result: result.update(levels=[])
    )
    assert suite.run(options(tmp_path, only=["load"], update=True)) == 0
    after = load(tmp_path / "report.json")["parts"]
    assert after["wire"] == made["parts"]["wire"]
    assert after["load"]["result"] == {"levels": []} and "failed" not in after["load"]


def test_a_part_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(args: argparse.Namespace, result: dict[str, Any]) -> None:
        raise ValueError("no sound here")

    monkeypatch.setattr("benchmarks.parts.latency.measure", fails)
    monkeypatch.setattr("benchmarks.parts.wire.measure", lambda args, result: result.update(WIRE))
    assert suite.run(options(tmp_path, only=["latency", "wire"])) == 0
    made = load(tmp_path / "report.json")
    assert made["parts"]["latency"]["failed"] == "no sound here"
    assert "latency: not measured: no sound here" in capsys.readouterr().out


def test_the_plan_names_commands_that_exist(tmp_path: Path) -> None:
    from benchmarks.registry import parse

    args = options(tmp_path, data=tmp_path, load_seconds=2.0)
    for key, words in suite.plan(args):
        if key != "limits":
            parse(suite.PLAN[key][0], words)
    keys = [key for key, _ in suite.plan(options(tmp_path))]
    assert "quality" not in keys and "load" in keys
    with pytest.raises(ValueError, match="give its folder with --data"):
        suite.plan(options(tmp_path, only=["voice"]))


def test_results_of_other_commands_become_tables() -> None:
    row = {"pesq": 2.0, "stoi": None}
    assert flat_tables("quality", {"live": row, "Opus": row}) == {
        "quality": {"live": row, "Opus": row}
    }
    told = {"model": "live", "notes": [], "conversion": {"kinds": {"source": row}, "pairs": [1]}}
    assert flat_tables("voice", told) == {"kinds": {"source": row}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("{parts}", "is damaged: KeyError('machine')"),
    ],
)
def test_a_damaged_report_is_a_sentence(
    text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    path.write_text(text.replace("{parts}", f'{{"format": {report.FORMAT}, "parts": {{}}}}'))
    assert main(["bench", "report", str(path)]) == 1
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert main(["bench", "report", "/dev/zero"]) == 1
    assert "is a device" in capsys.readouterr().err
