"""``facodec encode``: a sound file as codes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from clients import options

EXAMPLES = """\
  facodec encode speech.wav speech.fac              4.8 kbit/s
  facodec encode speech.mp3 speech.fac --layers 3   2.4 kbit/s, without the detail
  facodec decode speech.fac speech-decoded.wav      and back"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="SOUND",
                        help="any rate and channels; - for standard input")  # fmt: skip
    parser.add_argument("output", type=Path, metavar="FAC",
                        help="- for standard output")  # fmt: skip
    parser.add_argument("--layers", type=options.layers, default=6, metavar="3..6",
                        help="codes a frame (default 6)")  # fmt: skip
    parser.add_argument("--model", help="model, by name or folder (default: the bundled one)")


def run(arguments: argparse.Namespace) -> int:
    from facodec.extras import need

    need("server")
    from clients.offline.recordings import encode_file, report

    started = time.monotonic()
    encoded = encode_file(
        arguments.input, arguments.output, layers=arguments.layers, model=arguments.model
    )
    report(
        arguments.output,
        f"{encoded.samples / 16_000:.2f} s in {encoded.size} bytes, {arguments.layers * 0.8:.1f} "
        f"kbit/s and the voice; took {time.monotonic() - started:.1f} s",
    )
    return 0
