"""Steps that all parts of the benchmark share: options, running one, saying what came out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.kit.present import Table
from clients.ending import status_of
from facodec.files import need_folder, write_text

Result = dict[str, Any]
Measure = Callable[[argparse.Namespace, Result], None]
"""Fills a result (a JSON value) step by step, so that what is there when it is cut short counts."""
T = TypeVar("T")
MOST = 1_000_000
"""Largest number of anything, and of seconds."""
SHORTEST = 1e-6
DIGITS = 12
"""Digits of a number that is looked at."""


def add_common(parser: argparse.ArgumentParser, examples: str, seed: bool = True) -> None:
    """``--quick``, ``--seed``, ``--json`` and the examples."""
    parser.epilog = f"examples:\n{examples}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="a short run: rougher figures")
    if seed:
        parser.add_argument(
            "--seed", type=seed_number, default=0, help="of all that is drawn (default 0)"
        )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run_part(
    args: argparse.Namespace,
    measure: Measure,
    tables: Callable[[Result], list[Table]],
    result: Result | None = None,
) -> int:
    """Measures into ``result``, or one of its own, then prints; Ctrl-C prints what was measured so
    far, and so does SIGTERM. Returns the exit status."""
    from benchmarks.kit import machine

    result = {} if result is None else result
    status = 0
    try:
        measure(args, result)
    except KeyboardInterrupt as end:
        status = status_of(end)
        print("interrupted: what was measured so far", file=sys.stderr)
    facts = machine.describe(getattr(args, "threads", None), getattr(args, "seed", 0))
    if args.json:
        print(json.dumps({"machine": facts, **result, "complete": status == 0}))
        return status
    print(machine.summary(facts))
    for table in tables(result):
        print(f"\n{table.text()}")
    for note in result.get("notes", []):
        print(f"\nnote: {note}")
    return status


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """The items, with a bar on standard error where that is a terminal."""
    from tqdm import tqdm

    bar: Iterable[T] = tqdm(
        items, desc=what, total=total, leave=False, file=sys.stderr, disable=None
    )
    return bar


def say(sentence: str) -> None:
    """A line for whoever waits, on standard error."""
    print(sentence, file=sys.stderr, flush=True)


def whole_number(text: str) -> int:
    """For argparse: 1, 2, 3, ... to :data:`MOST`."""
    return _between(text, 1, MOST)


def seed_number(text: str) -> int:
    """For argparse: what generators of random numbers take."""
    return _between(text, 0, 2**31 - 1)


def share(text: str) -> float:
    """For argparse: a part or a multiple of something, none included."""
    return _number(text, 0.0, f"a number from 0 to {MOST}")


def whole_numbers(text: str) -> list[int]:
    """For argparse: numbers between commas."""
    return [whole_number(part) for part in text.split(",")]


def duration(text: str) -> float:
    """For argparse: seconds, more than none."""
    return _number(text, SHORTEST, "seconds, more than 0")


def _number(text: str, low: float, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not low <= value <= MOST:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return value


def _between(text: str, low: int, high: int) -> int:
    if not (text.isdecimal() and len(text) < DIGITS and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(
            f"expected a whole number from {low} to {high}, got {text}"
        )
    return int(text)


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, wholly or not at all, and its folder. Raises FileError."""
    need_folder(path.parent)
    write_text(path, json.dumps(value, indent=1) + "\n")


def reason(error: BaseException) -> str:
    """The first line of what went wrong."""
    said: Sequence[str] = str(error).splitlines() or [type(error).__name__]
    return said[0]
