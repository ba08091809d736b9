"""``facodec info``: what is in a ``.fac`` file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXAMPLES = """\
  facodec info talk.fac                             length, model, voices, gaps; what is damaged
  facodec info talk.fac --json
All of it is read and checked: exit status 1 where something is damaged."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="FAC", help="- for standard input")
    parser.add_argument("--json", action="store_true", help="one JSON object, times in seconds")


def run(arguments: argparse.Namespace) -> int:
    from facodec.reasons import shown
    from facodec.recording.reading import Recording
    from facodec.recording.summary import summarise

    with Recording(arguments.input) as recording:
        found = summarise(recording)
    if arguments.json:
        print(json.dumps({"file": shown(arguments.input), **found.to_json()}))
    else:
        print("\n".join(found.lines()))
    return int(found.damaged)
