"""``facodec play``: hear a ``.fac`` file."""

from __future__ import annotations

import argparse
from pathlib import Path

from clients import options

EXAMPLES = """\
  facodec play talk.fac                             on the loudspeaker
  facodec play talk.fac --from 1:20 --to 2:00
  facodec play talk.fac --output talk.wav           into a file, as facodec decode does
Ctrl-C ends. What is damaged is silence and told; exit status 1 then."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="FAC", help="- for standard input")
    parser.add_argument("--model", help="model, by name or folder (default: that of the file)")
    options.add_part(parser)
    options.add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    from facodec.extras import need

    need("server")
    from clients.offline.recordings import decode_file, part_of, report
    from clients.offline.voicebook import say
    from clients.session.idle import idle_devices

    for sentence in idle_devices(arguments):
        say(sentence)
    part, given = part_of(arguments), {"voice": arguments.voice, "model": arguments.model}
    if arguments.output is not None:
        decoded = decode_file(arguments.input, arguments.output, part, **given)
        report(arguments.output, f"{decoded.samples / 16_000:.2f} s")
        return int(decoded.damaged)
    from clients.audio.endpoints import open_sink
    from clients.session.play import play
    from facodec.files import need_input

    need_input(arguments.input)
    sink = open_sink(None, arguments.device_out, arguments.playout, live=False)
    return int(play(arguments.input, part, sink, **given))
