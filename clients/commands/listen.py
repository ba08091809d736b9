"""``facodec listen``: hear a room."""

from __future__ import annotations

import argparse

from clients import options

EXAMPLES = """\
  facodec listen kitchen                            on the loudspeaker
  facodec listen kitchen --local                    codes come in and are decoded here
  facodec listen kitchen --output kitchen.flac      into a file
  facodec listen kitchen --output kitchen.fac       the codes as they come: facodec play plays them
  facodec listen kitchen --output kitchen.fac --append --reconnect
                                                    after what is there; gaps stay gaps
It waits for a publisher, and ends when the publisher leaves (with --reconnect it waits again)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("room", metavar="ROOM", help="name of the room")
    options.add_server(parser, serve=False)
    options.add_output(parser).add_argument(
        "--append", action="store_true", help="go on at the end of the .fac file that is there"
    )
    options.add_codec(parser)
    options.add_session(parser)


def run(arguments: argparse.Namespace) -> int:
    from clients.session.talk import run_live

    return run_live(arguments, "subscribe", arguments.room)
