"""``facodec decode``: codes as a sound file."""

from __future__ import annotations

import argparse
from pathlib import Path

from clients import options

EXAMPLES = """\
  facodec decode speech.fac speech.wav              in the voice it was spoken with
  facodec decode speech.fac other.flac --voice other.wav --layers 3
                                                    the same words in the timbre of another
The suffix chooses the format: .wav, .flac, .ogg or .mp3."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="FAC", help="- for standard input")
    parser.add_argument("output", type=Path, metavar="SOUND",
                        help="- for standard output, as wav")  # fmt: skip
    options.add_voice(parser, "decode with this voice: a recording, or a name (facodec voices)")
    parser.add_argument("--layers", type=options.layers, default=6, metavar="3..6",
                        help="use at most so many codes a frame (default 6)")  # fmt: skip
    options.add_seed(parser)
    parser.add_argument("--model", help="model, by name or folder (default: that of the file)")


def run(arguments: argparse.Namespace) -> int:
    from facodec.extras import need

    need("server")
    from clients.offline.recordings import decode_file, report

    samples = decode_file(
        arguments.input,
        arguments.output,
        voice=arguments.voice,
        layers=arguments.layers,
        seed=arguments.seed,
        model=arguments.model,
    )
    report(arguments.output, f"{samples / 16_000:.2f} s")
    return 0
