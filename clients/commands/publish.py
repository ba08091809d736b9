"""``facodec publish``: into a room."""

from __future__ import annotations

import argparse

from clients import options

EXAMPLES = """\
  facodec publish kitchen                           the microphone
  facodec publish kitchen --local                   only codes leave this machine
  facodec publish kitchen --input speech.flac       a file, at the pace of speech
Somebody else hears it with: facodec listen kitchen"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("room", metavar="ROOM", help="name of the room; one publisher each")
    options.add_voice(parser, "your voice: a recording, or a saved name (else it is estimated)")
    options.add_talker(parser)
    options.add_server(parser, serve=False)
    options.add_input(parser)
    options.add_codec(parser)
    options.add_session(parser)


def run(arguments: argparse.Namespace) -> int:
    from clients.session.talk import run_live

    return run_live(arguments, "publish", arguments.room)
