"""``facodec bench PART``: one sub-command per part, each in its own module."""

from __future__ import annotations

import argparse
from importlib import import_module

PARTS = {
    "quality": "PESQ, STOI, log-mel distance and pitch of a model on a folder of speech",
    "voice": "voice conversion, the words it keeps, and what the codes leak",
    "step": "computing time per hop of encoder and decoder",
    "latency": "mouth to ear through virtual sound devices, with the ledger",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name, summary in PARTS.items():
        part = parts.add_parser(name, help=summary, description=summary)
        import_module(f"benchmarks.{name}").add_arguments(part)


def run(args: argparse.Namespace) -> int:
    result: int = import_module(f"benchmarks.{args.part}").run(args)
    return result
