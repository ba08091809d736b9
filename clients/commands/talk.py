"""``facodec talk``: hear yourself through the codec."""

from __future__ import annotations

import argparse

from clients import options

EXAMPLES = """\
  facodec talk --serve                              start a server too, and talk
  facodec talk --server ws://host:8765 --local      encode and decode here
  facodec talk --voice me.wav                       with an enrolled voice, not an estimated one
  facodec talk --input speech.wav --output out.wav  files in place of devices
  facodec talk --input speech.mp3 --output out.wav --fast
At a terminal keys change the voice, its pitch and loudness while it runs; ? shows them.
Ctrl-C ends: what is under way still comes out, files are complete, exit status 0."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_voice(parser, "your voice: a recording, or a saved name (else it is estimated)")
    options.add_changes(parser)
    options.add_talker(parser)
    options.add_live(parser)


def run(arguments: argparse.Namespace) -> int:
    from clients.session.talk import run_live

    return run_live(arguments, "loopback")
