"""``facodec bench`` without a part: everything, one after the other, into one report.

The report is written anew after each part, so whatever ends the run, what was measured is there.
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.kit.common import (
    Result,
    duration,
    reason,
    say,
    seed_number,
    whole_number,
    write_json,
)
from benchmarks.registry import parse, part_module
from clients.ending import status_of
from facodec.files import write_text

if TYPE_CHECKING:
    from benchmarks.report.page import Report

EXAMPLES = """\
  facodec bench                             all of it, about a quarter of an hour
  facodec bench --quick                     rougher, about three minutes
  facodec bench --data speech/ --out report quality and voice conversion on these files too
  facodec bench --only load --only wire     just these parts of the report
  facodec bench --only load --update        measured again, the rest as it is in the report
  facodec bench step --help                 one part alone
Ctrl-C ends it; the report then holds what was measured so far.
"""
PLAN: dict[str, tuple[str, tuple[str, ...]]] = {
    "startup": ("startup", ()),
    "wire": ("wire", ()),
    "latency": ("latency", ()),
    "step": (
        "step",
        ("--backend", "native", "--backend", "float32", "--backend", "onnx", "--baseline"),
    ),
    "step_ns3": (
        "step",
        ("--model", "ns3", "--backend", "float32", "--backend", "bf16", "--backend", "int8",
         "--batch", "1,4", "--baseline"),
    ),
    "peers": (
        "step", ("--peers", "--model", "live", "--model", "ns3", "--batch", "1", "--hops", "1"),
    ),
    "graphs": ("graphs", ()),
    "limits": ("limits", ()),
    "load": ("load", ()),
    "gpu": ("gpu", ()),
    "quality": ("quality", ("--ladder", "--peers")),
    "voice": ("voice", ()),
}  # fmt: skip
"""Key in the report -> part and its words."""
ON_SPEECH = ("quality", "voice")
ON_CUDA = ("gpu",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"examples:\n{EXAMPLES}"
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        default=Path("bench-report"),
        metavar="DIR",
        help="for report.html and report.json (default bench-report)",
    )
    add("--quick", action="store_true", help="a short run: rougher figures")
    add("--data", type=Path, metavar="DIR", help="folder of speech, for quality and voice")
    add(
        "--threads",
        type=whole_number,
        default=1,
        metavar="N",
        help="CPU threads of the models (default 1)",
    )
    add("--seed", type=seed_number, default=0, help="of all that is drawn (default 0)")
    add(
        "--only",
        action="append",
        choices=list(PLAN),
        metavar="KEY",
        help=f"leave out all but this; repeat for more: {', '.join(PLAN)}",
    )
    add("--update", action="store_true", help="keep the other parts of the report that is there")
    add("--load-seconds", type=duration, help="that each number of sessions talks")
    add("--json", action="store_true", help="print the report as JSON")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from benchmarks.kit import machine
    from benchmarks.report import page as report

    made: Report = {
        "format": report.FORMAT,
        "machine": machine.describe(args.threads, args.seed),
        "options": {"quick": args.quick, "threads": args.threads, "seed": args.seed},
        "complete": False,
        "parts": earlier_parts(args.out) if args.update else {},
    }
    status = 0
    try:
        for number, (key, planned) in enumerate(chosen := plan(args), start=1):
            say(f"{report.TITLES.get(key, key)} ({number} of {len(chosen)})")
            run_planned(key, planned, args, made)
            write(args.out, made)
        made["complete"] = True
    except KeyboardInterrupt as end:
        status = status_of(end)
        say("interrupted: the report holds what was measured so far")
    made["machine"] = machine.describe(args.threads, args.seed)  # torch is known by now
    write(args.out, made)
    if args.json:
        import json

        print(json.dumps(made))
    else:
        print(report.text(made))
        print(f"\nreport: {args.out / 'report.html'}")
    return status


def earlier_parts(folder: Path) -> dict[str, Any]:
    """The parts of the report that a folder holds. Raises ValueError or OSError for none."""
    from benchmarks.parts.report import load

    parts: dict[str, Any] = load(folder / "report.json")["parts"]
    return parts


def plan(args: argparse.Namespace) -> list[tuple[str, tuple[str, ...]]]:
    """Parts that are run, as key and words; speech and a GPU must be there for theirs."""
    keys = args.only or [
        key
        for key in PLAN
        if (key not in ON_SPEECH or args.data) and (key not in ON_CUDA or _has_cuda())
    ]
    return [(key, words_for(key, args)) for key in keys]


def words_for(key: str, args: argparse.Namespace) -> tuple[str, ...]:
    """The words behind ``facodec bench PART`` that the report's part stands for."""
    part, words = PLAN[key]
    if key == "limits":
        return ()
    if key in ON_SPEECH:
        if args.data is None:
            raise ValueError(f"{key} is measured on speech: give its folder with --data")
        few = {"quality": ("--clips", "8"), "voice": ("--pairs", "10")}[key] if args.quick else ()
        return (*words, "--data", str(args.data), *few)
    if part in ("step", "startup", "load", "gpu"):
        words = (*words, "--threads", str(args.threads))
    if part != "latency":
        words = (*words, "--seed", str(args.seed))
    if part == "wire" and args.data is not None:
        words = (*words, "--data", str(args.data))
    if key == "load" and args.load_seconds:
        words = (*words, "--seconds", str(args.load_seconds))
    return (*words, "--quick") if args.quick else words


def run_planned(key: str, words: tuple[str, ...], args: argparse.Namespace, made: Report) -> None:
    """Measures one part into the report; a part that cannot be measured says why, and the others
    go on. What was measured before Ctrl-C stays."""
    part = PLAN[key][0]
    result: Result = {}
    entry: dict[str, Any] = {
        "command": " ".join(("facodec bench", part, *words)),
        "module": "speech_parts" if key in ON_SPEECH else part,
        "took_s": 0.0,
        "result": result,
    }
    made["parts"][key] = entry
    began = time.monotonic()
    try:
        if key == "limits":
            measure_limits(args, made, result)
        elif key in ON_SPEECH:
            import_module("benchmarks.parts.speech_parts").measure(key, words, args.out, result)
        else:
            part_module(part).measure(parse(part, words), result)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        entry["failed"] = reason(error)
        say(f"{key}: {entry['failed']}")
    finally:
        entry["took_s"] = round(time.monotonic() - began, 1)


def measure_limits(args: argparse.Namespace, made: Report, result: Result) -> None:
    """The machine's rates, and what the steps measured so far mean beside them."""
    import torch

    from benchmarks.kit import machine
    from benchmarks.parts import limits

    torch.set_num_threads(args.threads)
    cases = [
        case
        for key in ("step", "step_ns3", "peers")
        for case in made["parts"].get(key, {}).get("result", {}).get("cases", [])
    ]
    rates = machine.rates(0.2 if args.quick else 1.0)
    result.update(limits.limits(["live", "ns3"], rates, cases))


def write(folder: Path, made: Report) -> None:
    """report.json and report.html."""
    from benchmarks.report import page as report

    write_json(folder / "report.json", made)
    write_text(folder / "report.html", report.page(made))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
