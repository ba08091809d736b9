"""``facodec verify``: does a model do what it should here?"""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """\
  facodec verify                                    the bundled model
  facodec verify weights/                           official files, or what facodec train made
  facodec verify weights/ --clip speech.wav"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="name or folder")
    parser.add_argument("--clip", type=Path, metavar="FILE", help="speech to try it on")


def run(arguments: argparse.Namespace) -> int:
    from facodec.extras import need

    need("server")
    from clients.offline.verify import verify

    return 0 if verify(arguments.model, arguments.clip, print) else 1
