"""``facodec decode``: codes as a sound file."""

from __future__ import annotations

import argparse
from pathlib import Path

from clients import options

EXAMPLES = """\
  facodec decode speech.fac speech.wav              in the voice it was spoken with
  facodec decode talk.fac part.wav --from 1:20 --to 2:00
                                                    only that part is read
  facodec decode speech.fac other.flac --voice other.wav --layers 3
                                                    the same words in the timbre of another
The suffix chooses the format: .wav, .flac, .ogg or .mp3. Gaps, and what is damaged, are silence;
exit status 1 where something is damaged."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="FAC", help="- for standard input")
    parser.add_argument("output", type=Path, metavar="SOUND",
                        help="- for standard output, as wav")  # fmt: skip
    options.add_part(parser)
    parser.add_argument("--model", help="model, by name or folder (default: that of the file)")


def run(arguments: argparse.Namespace) -> int:
    from facodec.extras import need

    need("server")
    from clients.offline.recordings import decode_file, part_of, report

    decoded = decode_file(
        arguments.input,
        arguments.output,
        part_of(arguments),
        voice=arguments.voice,
        model=arguments.model,
    )
    report(arguments.output, f"{decoded.samples / 16_000:.2f} s")
    return int(decoded.damaged)
