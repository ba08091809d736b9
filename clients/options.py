"""Options that several commands share. Imports nothing slow: ``--help`` must be quick."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from facodec.config import HIGHEST_PITCH, LOWEST_PITCH, SAMPLE_RATE

DEFAULT_URL = "ws://127.0.0.1:8765"
SERVER_VARIABLE = "FACODEC_SERVER"
TOKEN_VARIABLE = "FACODEC_TOKEN"
CA_VARIABLE = "FACODEC_CA"
_TIME = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,5}):)?(\d{1,7}(?:\.\d{1,6})?)", re.ASCII)


def add_server(parser: argparse.ArgumentParser, *, serve: bool = True) -> None:
    """``serve``: whether starting a server of one's own makes sense for this command."""
    group = parser.add_argument_group("server")
    group.add_argument(
        "--server",
        metavar="URL",
        help=f"ws://, wss:// or quic:// address (default ${SERVER_VARIABLE}, else {DEFAULT_URL})",
    )
    if serve:
        group.add_argument(
            "--serve", action="store_true", help="start a server for the duration of this command"
        )
    add_trust(group)
    group.add_argument(
        "--model", metavar="NAME", help="model, by name; where it is loaded here also a folder"
    )


def add_trust(parser: argparse._ActionsContainer) -> None:
    """Adds the options of trust: the client's token and the server's certificate."""
    parser.add_argument(
        "--token",
        help=f"where the server wants one (default ${TOKEN_VARIABLE}, which does not show it to "
        "everybody who can list this machine's processes)",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="a file of tokens, of which the first that will do is used",
    )
    parser.add_argument(
        "--ca",
        metavar="FILE",
        help="certificates to trust for wss:// and quic://, as PEM, in place of the system's "
        f"(default ${CA_VARIABLE})",
    )


def add_codec(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("codec")
    group.add_argument(
        "--layers", type=layers, default=6, metavar="3..6", help="codes a frame (default 6)"
    )
    group.add_argument(
        "--frames-per-packet",
        type=_frames,
        default=1,
        metavar="1..8",
        help="more mean fewer headers and 12.5 ms more delay each (default 1)",
    )
    add_seed(group)
    group.add_argument(
        "--local", action="store_true", help="encode and decode here, so that only codes travel"
    )
    group.add_argument(
        "--redundancy",
        type=_redundancy,
        metavar="0..4",
        help="with --local: repeat what matters of each packet so many packets later, 0 not at all "
        "(default 2 over quic://, where packets may be lost, else 0)",
    )
    group.add_argument(
        "--no-pauses",
        dest="pauses",
        action="store_false",
        help="with --local: frames in which nobody speaks travel too",
    )


def add_seed(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--seed", type=_seed, default=0, help="of the synthesis (default 0)")


def add_input(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    group.add_argument(
        "--input", type=Path, metavar="FILE", help="a sound file in place of the microphone"
    )
    group.add_argument(
        "--device-in", metavar="DEVICE", help="microphone, by number or name: facodec devices"
    )
    group.add_argument(
        "--denoise",
        action="store_true",
        help="take noise out before the encoder, 22 to 33 ms later (the extra 'denoise')",
    )
    group.add_argument(
        "--save-input", type=Path, metavar="FILE", help="also write what was sent to a file"
    )
    group.add_argument(
        "--fast", action="store_true", help="send a file as fast as possible, not at its pace"
    )


def add_output(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output", type=Path, metavar="FILE", help="a sound file in place of the loudspeaker"
    )
    group.add_argument(
        "--device-out", metavar="DEVICE", help="loudspeaker, by number or name: facodec devices"
    )
    group.add_argument(
        "--playout",
        type=_milliseconds,
        metavar="MS",
        help="smallest margin of the playout buffer (default 15); it grows by itself where needed",
    )
    return group


def add_session(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("session")
    group.add_argument("--reconnect", action="store_true", help="come back after a lost connection")
    group.add_argument(
        "--json", action="store_true", help="JSON lines on stdout, a summary object at the end"
    )


def add_live(parser: argparse.ArgumentParser) -> None:
    """All that a command with sound both ways takes."""
    for add in (add_server, add_input, add_output, add_codec, add_session):
        add(parser)


def add_voice(parser: argparse.ArgumentParser, text: str, *, required: bool = False) -> None:
    parser.add_argument("--voice", metavar="FILE|NAME", required=required, help=text)


def add_part(parser: argparse.ArgumentParser) -> None:
    """Adds the options for a part of a recording and how it is heard."""
    parser.add_argument(
        "--from", dest="start", type=_time, default=0, metavar="TIME",
        help="where to begin: 80, 1:20 or 1:02:03.5 (default: at the beginning)",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="end", type=_time, metavar="TIME", help="where to stop (default: at the end)"
    )
    add_voice(parser, "decode with this voice: a recording, or a name (facodec voices)")
    parser.add_argument("--layers", type=layers, default=6, metavar="3..6",
                        help="use at most so many codes a frame (default 6)")  # fmt: skip
    add_seed(parser)


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Adds the options for what keys change while a command runs."""
    parser.add_argument(
        "--pitch",
        type=_semitones,
        default=0.0,
        metavar="SEMITONES",
        help="let the voice speak so much higher, -12 to 12 (default 0)",
    )
    parser.add_argument(
        "--gain",
        type=_gain,
        default=0.0,
        metavar="DB",
        help="make what is heard louder, -24 to 24 dB (default 0)",
    )
    parser.add_argument(
        "--gate",
        type=_gate,
        metavar="DB",
        help="make silence of sound whose peaks are below so many dB of full scale, -90 to 0, "
        "before it is encoded; without delay, and not within 0.3 s of louder sound",
    )


def add_talker_pitch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--talker-pitch",
        type=_pitch,
        metavar="HZ",
        help="how high you speak or sing, in the middle: right from the first word on, and a "
        "melody keeps its intervals (default: it is heard, and followed in pauses)",
    )


def add_talker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--talker",
        metavar="FILE|NAME",
        help="who talks: a recording, or a saved name; it sounds right from the first word on "
        "(default: who last talked into this microphone; none: nobody, and nobody is remembered)",
    )


def server(options: argparse.Namespace) -> str | None:
    """The server's address given, or that of the environment."""
    given: str | None = options.server or os.environ.get(SERVER_VARIABLE) or None
    return given


def token(options: argparse.Namespace, all_rights: bool = False) -> str | None:
    """The token given, the first in the file given, or that of the environment.

    ``all_rights``: a token in a file is used only if it has them all. The file is read once: it
    may be a pipe. Raises UsageError.
    """
    if options.token_file is None:
        given: str | None = options.token or os.environ.get(TOKEN_VARIABLE)
        return given
    from clients.errors import UsageError
    from facodec.reasons import shown
    from streaming.wire.tokens import Grant, read_token_file

    if options.token is not None:
        raise UsageError("--token and --token-file both say who asks: leave one of them out")
    if not hasattr(options, "tokens"):
        try:
            options.tokens = read_token_file(options.token_file)
        except ValueError as error:
            raise UsageError(str(error)) from None
    found: list[tuple[str, Grant]] = options.tokens
    for token, grant in found:
        if grant.is_everything or not all_rights:
            return token
    raise UsageError(f"expected a token with all rights in {shown(options.token_file)}, got none")


def ca(options: argparse.Namespace) -> str | None:
    """The file of certificates given, or that of the environment."""
    given: str | None = options.ca or os.environ.get(CA_VARIABLE) or None
    return given


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """For argparse: whole numbers from ``low`` to ``high``."""
    return partial(_between, low=low, high=high)


def interval(text: str) -> float:
    """For argparse: seconds between two looks."""
    return _number(text, 0.2, 3600)


def layers(text: str) -> int:
    """For argparse: codes a frame."""
    return _between(text, 3, 6)


def _frames(text: str) -> int:
    return _between(text, 1, 8)


def _redundancy(text: str) -> int:
    return _between(text, 0, 4)


def _seed(text: str) -> int:
    return _between(text, 0, 2**31 - 1)


def _pitch(text: str) -> float:
    return float(_between(text, math.ceil(LOWEST_PITCH), int(HIGHEST_PITCH)))


def _semitones(text: str) -> float:
    try:
        return _number(text, -12, 12)
    except argparse.ArgumentTypeError as error:
        advice = "; how high you speak yourself, in Hz, is --talker-pitch"
        raise argparse.ArgumentTypeError(f"{error}{advice}") from None


def _gain(text: str) -> float:
    return _number(text, -24, 24)


def _gate(text: str) -> float:
    return _number(text, -90, 0)


def _number(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"expected a number from {low} to {high}, got {text}")
    return value


def _milliseconds(text: str) -> float:
    """Seconds."""
    return _between(text, 5, 400) / 1000


def _time(text: str) -> int:
    """Samples from ``80``, ``1:20`` or ``1:02:03.5``."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a time like 80, 1:20 or 1:02:03.5, got {text}")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return round(((hours * 60 + minutes) * 60 + seconds) * SAMPLE_RATE)


def _between(text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from {low} to {high}, got {text}"
        )
    return value
