"""One report from the results of all parts: a page with plots, tables for documents, a summary."""

from __future__ import annotations

import html
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.kit import machine
from benchmarks.kit.common import Result
from benchmarks.kit.present import Chart, Table
from benchmarks.report import glance
from facodec.files import LARGEST_TEXT, read_text, write_text

FORMAT = 1
Report = dict[str, Any]
"""A JSON value: ``format``, ``machine``, ``options``, ``complete``, and ``parts``: for each its
``command``, ``module``, ``took_s`` and ``result``, or ``failed``: why there is none."""
TITLES = {
    "step": "Computing, bundled model",
    "step_ns3": "Computing, published model",
    "peers": "Beside other codecs",
    "graphs": "Exported graphs",
    "limits": "Physical limits",
    "wire": "On the wire",
    "startup": "Starting and memory",
    "latency": "Latency, stage by stage",
    "load": "Sessions at once",
    "gpu": "On a GPU",
    "quality": "Quality",
    "voice": "Voice conversion",
}
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c1c1c; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0 .8rem; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } th { background: #f4f4f4; }
code { background: #f4f4f4; padding: .1rem .3rem; } .note { color: #666; }
"""
MARKED = re.compile(r"(<!-- (table|chart) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables(report: Report) -> dict[str, list[Table]]:
    """The tables of every part that has a result."""
    return {key: _module(part).tables(part["result"]) for key, part in _measured(report).items()}


def charts(report: Report) -> dict[str, list[Chart]]:
    """The charts of every part that has any."""
    return {
        key: _module(part).charts(part["result"])
        for key, part in _measured(report).items()
        if hasattr(_module(part), "charts")
    }


def glance_at(report: Report) -> Table:
    """The figures that most people look for, as far as this report has them."""
    return glance.table({key: part["result"] for key, part in _measured(report).items()})


def page(report: Report) -> str:
    """The report as one HTML page that needs nothing else."""
    made, drawn = tables(report), charts(report)
    body = [
        "<h1>facodec bench</h1>",
        f"<p>{_escaped(machine.summary(report['machine']))}</p>",
        f"<p class=note>{_escaped(_fine_print(report))}</p>",
        "<ul>", *(f"<li>{_escaped(line)}</li>" for line in highlights(report)), "</ul>",
        _html_table(glance_at(report)),
    ]  # fmt: skip
    for key, part in report["parts"].items():
        body.append(f"<h2>{_escaped(TITLES.get(key, key))}</h2>")
        body.append(f"<p><code>{_escaped(part['command'])}</code>, {part['took_s']:.0f} s</p>")
        if "failed" in part:
            body.append(f"<p>Not measured: {_escaped(part['failed'])}</p>")
        body += [_drawn(chart) for chart in drawn.get(key, [])]
        body += [_html_table(table) for table in made.get(key, [])]
        body += [
            f"<p class=note>{_escaped(n)}</p>" for n in part.get("result", {}).get("notes", [])
        ]
    content = "\n".join(body)
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>facodec bench</title>"
        f"<style>{STYLE}</style></head><body>\n{content}\n</body></html>\n"
    )


def text(report: Report) -> str:
    """The summary for a terminal: machine, headlines, what is missing."""
    lines = [machine.summary(report["machine"]), "", *(f"- {x}" for x in highlights(report))]
    for key, part in report["parts"].items():
        if "failed" in part:
            lines.append(f"- {key}: not measured: {part['failed']}")
    return "\n".join(lines)


def highlights(report: Report) -> list[str]:
    """Returns the main results, a sentence each."""
    lines: list[str] = []
    parts = {key: part["result"] for key, part in _measured(report).items()}
    for key in ("step", "step_ns3"):
        lines += _step_highlights(parts.get(key, {}))
    for row in parts.get("peers", {}).get("peers", [])[1:]:
        lines.append(
            f"{row['name']}: {row['to_ours']['p50']:.3g} times the computing of "
            f"{parts['peers']['peers'][0]['name']} per second of audio"
        )
    load = parts.get("load", {})
    if load.get("levels"):
        edge = f", not {load['breaks']}" if load["breaks"] else ""
        what = load["what"]
        lines.append(
            f"load: {load['holds']} full-duplex sessions held{edge} ({what['model']}, "
            f"{what['threads']} model thread(s), load generator on the same machine)"
        )
    latency = parts.get("latency", {})
    if latency.get("socket"):
        total = latency["socket"]["sum"]
        lines.append(
            f"file to server to file: {total['p50_ms']:.0f} ms (p95 {total['p95_ms']:.0f})"
        )
    if latency.get("mouth_to_ear_ms"):
        runs = ", ".join(f"{delay:.0f}" for delay in latency["mouth_to_ear_ms"])
        lines.append(f"mouth to ear over virtual devices: {runs} ms")
    for name, row in parts.get("startup", {}).get("starts_s", {}).items():
        if name in ("import facodec, torch too", "facodec --help", "server ready"):
            lines.append(f"{name}: {row['p50']:.2f} s")
    return lines


def _step_highlights(result: Result) -> list[str]:
    cases = result.get("cases", [])
    lines = []
    for encode, decode in zip(cases[::2], cases[1::2], strict=True):
        if encode["hops"] > 1 or encode["batch"] not in (1, 16):
            continue
        both = encode["call_ms"]["p50"] + decode["call_ms"]["p50"]
        batch = encode["batch"]
        each = "one stream" if batch == 1 else f"per stream of {batch}"
        lines.append(
            f"{encode['model']} {encode['backend']}: encode + decode {both / batch:.3g} ms per hop "
            f"of 12.5 ms, {each}"
        )
    return lines


def fill(document: Path, report: Report) -> list[str]:
    """Write the report's tables and charts between a document's markers, from
    ``<!-- table KEY.NAME -->`` or ``<!-- chart KEY.NAME -->`` to ``<!-- end -->``; charts go beside
    it, as SVG.

    Returns the markers that the report has nothing for, which are left as they are. Raises OSError
    where the document cannot be read or written."""
    ready = {f"{key}.{t.name}": t for key, made in tables(report).items() for t in made}
    ready["report.glance"] = glance_at(report)
    drawings = {f"{key}.{c.name}": c for key, made in charts(report).items() for c in made}
    missing: list[str] = []

    def replace(match: re.Match[str]) -> str:
        opening, kind, name, closing = match.groups()
        if kind == "table" and name in ready:
            return f"{opening}{_document_table(ready[name], report)}\n{closing}"
        if kind == "chart" and name in drawings:
            return f"{opening}{_document_chart(drawings[name], document, name)}\n{closing}"
        missing.append(name)
        return match[0]

    write_text(document, MARKED.sub(replace, read_text(document, LARGEST_TEXT)))
    return missing


def _document_table(table: Table, report: Report) -> str:
    facts = report["machine"]
    made = f"*{table.title}. {facts['cpu']}, {facts['cores']} cores, {facts['when'][:10]}.*"
    return "\n\n".join(filter(None, (made, table.markdown(), table.note)))


def _document_chart(chart: Chart, document: Path, name: str) -> str:
    from benchmarks.report.charts import line_chart

    path = document.with_name(f"{document.stem}-{name.replace('.', '-')}.svg")
    write_text(path, line_chart(chart))
    return f"![{chart.title}]({path.name})"


def _fine_print(report: Report) -> str:
    facts = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    whole = "" if report["complete"] else " Cut short: what had been measured until then."
    features = ", ".join(facts["features"]) or "–"
    return (
        f"{versions}; commit {facts['commit']}; CPU features {features}; {facts['memory_gib']} GiB."
        f"{whole}"
    )


def _drawn(chart: Chart) -> str:
    try:
        from benchmarks.report.charts import line_chart

        return f"<figure>{line_chart(chart)}</figure>"
    except ImportError:
        return "<p class=note>No plot: pip install matplotlib</p>"


def _html_table(table: Table) -> str:
    from benchmarks.kit.present import show

    head = "".join(f"<th>{_escaped(column)}</th>" for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_escaped(show(cell))}</td>" for cell in row) + "</tr>\n"
        for row in table.rows
    )
    note = f"<p class=note>{_escaped(table.note)}</p>" if table.note else ""
    return (
        f"<p>{_escaped(table.title)}</p><div class=scroll><table><tr>{head}</tr>\n{rows}</table>"
        f"</div>{note}"
    )


def _measured(report: Report) -> dict[str, Any]:
    return {key: part for key, part in report["parts"].items() if part.get("result")}


def _module(part: dict[str, Any]) -> Any:
    return import_module(f"benchmarks.parts.{part['module']}")


def _escaped(value: str) -> str:
    return html.escape(value, quote=False)
