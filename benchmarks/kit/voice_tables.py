"""The report of ``facodec bench voice`` as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

COLUMNS = {
    "to_target": ("to target", "{:.2f}"),
    "to_source": ("to source", "{:.2f}"),
    "to_others": ("to other targets", "{:.2f}"),
    "closer": ("closer to target", "{:.0%}"),
    "pitch_within": ("pitch within 15 %", "{:.0%}"),
    "pitch_off": ("pitch off, median", "{:.0%}"),
    "level_db": ("level dB", "{:+.1f}"),
}


def tables(report: dict[str, Any]) -> str:
    """All parts that the report holds, then its notes; None stands for what could not be told."""
    parts = []
    if "conversion" in report:
        parts.append(_conversion(report["conversion"]))
    if "words" in report:
        parts.append(_words(report["words"]))
    if report.get("prosody"):
        parts.append(_prosody(report["prosody"]))
    if "leakage" in report:
        parts.append(_leakage(report["leakage"]))
    if report.get("reidentification"):
        parts.append(_reidentification(report["reidentification"]))
    parts.extend(f"Note: {note}" for note in report["notes"])
    return "\n\n".join(parts)


def _reidentification(rows: list[dict[str, Any]]) -> str:
    same, other = rows[0]["same"], rows[0]["other"]
    cells = (
        [row["name"], f"{row['eer']:.1%}", f"{row['low']:.0%} to {row['high']:.0%}"] for row in rows
    )
    return "\n\n".join(
        (
            f"Re-identification: a recording compared with what was heard, {rows[0]['speakers']} "
            f"speakers, {same} trials of one and {other} of two. Equal error rate, 50 % is "
            "guessing; 95 % of resamples of the speakers lie within the interval.",
            markdown(["heard", "equal error rate", "interval"], cells),
        )
    )


def markdown(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(titles)
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines.extend("| " + " | ".join(cells) + " |" for cells in rows)
    return "\n".join(lines)


def _cells(row: dict[str, float | None]) -> list[str]:
    return [_cell(row[key], form) for key, (_, form) in COLUMNS.items()]


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _conversion(part: dict[str, Any]) -> str:
    titles = [title for title, _ in COLUMNS.values()]
    same, different = (
        _cell(part["anchors"][name], "{:.2f}") for name in ("same_speaker", "different_speakers")
    )
    kinds = ([kind, *_cells(row)] for kind, row in part["kinds"].items())
    groups = (
        [name, kind, f"{row['pairs']:.0f}", *_cells(row)]
        for name, own in part["groups"].items()
        for kind, row in own.items()
    )
    return "\n\n".join(
        (
            f"Voice conversion, {len(part['pairs'])} pairs. Similarity is the cosine of speaker "
            f"embeddings; untouched recordings of one speaker: {same}, of two: {different}.",
            markdown(["audio", *titles], kinds),
            markdown(["pairs", "audio", "n", *titles], groups),
        )
    )


def _words(heard: dict[str, dict[str, float]]) -> str:
    titles = ["heard by", "original", "codec", "codec, no detail", "converted", "converted - codec"]
    order = ["original", "codec", "codec_no_detail", "converted"]
    adults = any("converted_to_adults" in rates for rates in heard.values())
    rows = []
    for name, rates in heard.items():
        more = 100 * (rates["converted"] - rates["codec"])
        row = [name, *(f"{rates[kind]:.1%}" for kind in order), f"{more:+.1f} points"]
        rows.append([*row, f"{rates['converted_to_adults']:.1%}"] if adults else row)
    return f"Word error rate\n\n{markdown([*titles, *['converted to adults'] * adults], rows)}"


def _prosody(errors: dict[str, float]) -> str:
    cells = [f"{errors['voicing_error']:.1%}", f"{errors['gross_pitch_error']:.1%}"]
    table = markdown(["voicing error", "gross pitch error"], [cells])
    return f"Pitch from the prosody codes alone\n\n{table}"


def _leakage(part: dict[str, Any]) -> str:
    speaker = ([name, f"{accuracy:.1%}"] for name, accuracy in part["speaker"].items())
    pitch = ([name, *(f"{r:.2f}" for r in row.values())] for name, row in part["pitch"].items())
    return "\n\n".join(
        (
            f"Leakage: speaker named by a probe on 3 s, one of {part['speakers']} "
            f"({part['utterances']} utterances, others than it learnt from)",
            markdown(["probe sees", "accuracy"], speaker),
            "Correlation of log-pitch with what a network reads from the codes",
            markdown(["probe sees", "all frames", "within utterances"], pitch),
        )
    )
