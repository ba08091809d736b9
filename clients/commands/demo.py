"""``facodec demo``: the first thing to try."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """\
  facodec demo                                      a sample, through a server, into out.wav
  facodec demo --mic                                the same with your microphone, until Ctrl-C
  facodec demo --output mine.flac"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mic", action="store_true", help="speak yourself, until Ctrl-C")
    parser.add_argument("--output", type=Path, default=Path("out.wav"), metavar="FILE",
                        help="what comes out (default %(default)s)")  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="model, by name or folder")
    parser.add_argument(
        "--no-browser",
        action="store_true",
        help="do not open the page afterwards, as happens where there is a display and neither "
        "$CI nor $FACODEC_NO_BROWSER is set",
    )


def run(arguments: argparse.Namespace) -> int:
    from facodec.extras import need

    need("server")
    from clients.session.demo import demo

    return demo(
        arguments.output,
        model=arguments.model,
        microphone=arguments.mic,
        browser=not arguments.no_browser,
    )
