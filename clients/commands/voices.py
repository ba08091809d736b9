"""``facodec voices``: list, add, play, remove."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from clients.options import SERVER_VARIABLE, add_output, add_trust
from facodec.extras import need
from facodec.names import ANONYMOUS
from facodec.reasons import FileError, shown

if TYPE_CHECKING:
    import numpy as np

    from clients.offline.voicebook import Profile

EXAMPLES = """\
  facodec voices                                    those you saved and those that come along
  facodec voices add friend friend.wav              enrol a recording with the bundled model
  facodec voices add friend friend.wav --server ws://host:8765     let a server do it
  facodec voices play hazel                         hear a sentence in a voice
  facodec voices play friend --output friend.wav
  facodec voices remove friend
Saved voices are files NAME.voice in ~/.config/facodec/voices (or $XDG_CONFIG_HOME); a server
started with --voices on that folder knows them by name too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list them (what happens without an action)")
    add = actions.add_parser("add", help="enrol a recording under a name")
    add.add_argument("name", metavar="NAME")
    add.add_argument("reference", metavar="FILE", type=Path, help="3 s or more of clean speech")
    add.add_argument(
        "--server",
        metavar="URL",
        help=f"let this server enrol it (default ${SERVER_VARIABLE}, else here)",
    )
    add_trust(add)
    add.add_argument("--model", metavar="NAME", help="model, by name or, without --server, folder")
    add.add_argument("--replace", action="store_true", help="replace a saved voice of this name")
    play = actions.add_parser("play", help="hear a sentence in a voice")
    play.add_argument("voice", metavar="NAME", help="a name, a recording, or anonymous")
    play.add_argument("--model", metavar="NAME", help="model, by name or folder")
    add_output(play)
    remove = actions.add_parser("remove", help="forget a saved voice")
    remove.add_argument("name", metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    from clients.offline.voicebook import HEARD, Profiles
    from facodec.weights import BUNDLED_MODEL, bundled_path
    from facodec.weights.timbres import voice_notes, voices_identity

    profiles = Profiles()
    if arguments.action == "add":
        return _add(arguments)
    if arguments.action == "play":
        return _play(arguments)
    if arguments.action == "remove":
        profiles.remove(arguments.name)
        print(f"removed {arguments.name}")
        return 0
    for profile in profiles.list():
        print(f"{shown(profile.name):<16} saved    {_model(profile):<17} {profile.source}")
    bundled = voices_identity(bundled_path()) or BUNDLED_MODEL
    for name, notes in voice_notes(bundled_path()).items():
        heard = [notes[key] for key in ("sex", "pitch", "about") if key in notes]
        print(f"{name:<16} bundled  {bundled!s:<17} {', '.join(heard)}")
    for name, about in HEARD.items():
        print(f"{name:<16} bundled  {'any':<17} {about}")
    print(f"{ANONYMOUS:<16} drawn    {bundled!s:<17} a fresh voice of nobody at each start")
    return 0


def _play(arguments: argparse.Namespace) -> int:
    need("server")
    from clients.audio.files import keep_apart, need_sound_output
    from clients.offline.playing import play, sentence_in
    from clients.offline.voicebook import say, voice_file
    from clients.session.idle import idle_devices

    for sentence in idle_devices(arguments):
        say(sentence)
    keep_apart([arguments.output], [voice_file(arguments.voice)])
    if arguments.output is not None:
        need_sound_output(arguments.output)
    spoken = sentence_in(arguments.voice, arguments.model)
    asyncio.run(play(spoken, arguments.output, arguments.device_out, arguments.playout))
    return 0


def _model(profile: Profile) -> str:
    try:
        return str(profile.model or "not known")
    except FileError:
        return "damaged"


def _add(arguments: argparse.Namespace) -> int:
    from clients.offline.voicebook import Profiles, say, shadowed
    from clients.options import server

    url = server(arguments)
    if url is None:
        need("server")
    profiles = Profiles()
    profiles.check_new(arguments.name, replace=arguments.replace)
    timbre = _enrol(arguments, url)
    saved = profiles.add(
        arguments.name,
        timbre,
        source=shown(arguments.reference.name),
        replace=arguments.replace,
    )
    print(f"saved {shown(saved.path)}; use it with --voice {saved.name}")
    if hidden := shadowed(saved.name, arguments.model):
        say(hidden)
    return 0


def _enrol(arguments: argparse.Namespace, url: str | None) -> np.ndarray:
    from clients.offline.voicebook import enrol, enrol_here
    from clients.options import ca, token

    if url is None:
        return enrol_here(arguments.reference, arguments.model)
    return asyncio.run(
        enrol(
            arguments.reference,
            url,
            model=arguments.model,
            token=token(arguments),
            ca=ca(arguments),
        )
    )
