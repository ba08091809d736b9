"""``facodec convert``: speak with another voice."""

from __future__ import annotations

import argparse

from clients import options

EXAMPLES = """\
  facodec convert --voice friend.wav --serve        live, from the microphone
  facodec convert --voice rowan --input in.wav --output out.wav --fast --serve
  facodec convert --voice friend --local            a saved voice; encode and decode here
  facodec convert --voice friend --talker me        with your own saved voice: right from the start
  facodec convert --voice hazel --pitch -2 --gate -50     lower, and silent between words
At a terminal keys change the voice, its pitch and loudness while it runs; ? shows them.
Three seconds or more of clean speech make a good reference; facodec voices keeps them by name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_voice(parser, "whose voice: a recording, or a name (facodec voices)", required=True)
    options.add_changes(parser)
    options.add_talker_pitch(parser)
    options.add_talker(parser)
    options.add_live(parser)


def run(arguments: argparse.Namespace) -> int:
    from clients.session.talk import run_live

    return run_live(arguments, "convert")
