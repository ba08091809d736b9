"""``facodec``: one entry point, each subcommand imported when it is used.

This is the composition root: the one module that knows of commands by their modules' names, on
whatever floor they lie. No other module here knows what a command imports.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from clients import ending
from clients.parsing import Parser
from clients.standard import forgive_errors, open_descriptors

COMMANDS = {
    "demo": "hear the codec in one command: a sample through a server into out.wav",
    "serve": "run the server",
    "talk": "microphone -> server -> loudspeaker",
    "convert": "speak with another voice, live or file to file",
    "publish": "send a microphone or a file into a room",
    "listen": "hear a room",
    "encode": "sound file -> .fac file",
    "decode": ".fac file -> sound file",
    "play": "hear a .fac file",
    "info": "tell what is in a .fac file",
    "top": "watch the sessions of a server",
    "devices": "list sound devices",
    "voices": "list, add and remove voices",
    "verify": "check that a model works as it should",
    "bench": "measure quality and speed",
    "train": "train the bundled model",
    "train-entropy": "learn the tables of the entropy coder for a model's codes",
    "export": "write a model as ONNX graphs",
}
ELSEWHERE = {"serve": "streaming.server.command", "bench": "benchmarks.command"}
"""Modules of commands that do not lie in ``clients.commands``."""
PAGE = Path(__file__).parent / "web"
"""Folder that ``serve`` shows to browsers."""
UNWRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE}
"""Errors of writing."""
T = TypeVar("T")
OURS = {"benchmarks", "clients", "facodec", "streaming"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done (also where Ctrl-C ends it in good order),
    1 it failed, 2 it was asked for in the wrong way, 130 cut short by Ctrl-C, 143 by SIGTERM."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    open_descriptors()
    forgive_errors()
    status: int | SystemExit
    try:
        status = _flushed(ending.run(lambda: _main(words)))
    except SystemExit as end:  # of --help, --version and wrong words
        status = _flushed(end)
    if isinstance(status, SystemExit):
        raise status
    return status


def _flushed(end: T) -> T | int:
    """The end of a command, once standard output has taken all that was printed; else 1."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return _failed("facodec", error)
    return end


def _failed(command: str, error: OSError) -> int:
    """Tells of an error of the system, which is standard output's where it names no file: others
    are written through their door."""
    from facodec.reasons import named_why

    if error.filename is None and error.errno in UNWRITTEN:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left would be tried again
        named = "cannot write standard output: "
    else:
        named = ""
    if error.errno != errno.EPIPE:  # a reader who has gone wants no word about it
        print(f"{command}: {named}{named_why(error)}", file=sys.stderr)
    return 1


def _main(words: list[str]) -> int:
    if not words or words[0] not in COMMANDS:
        _top_parser().parse_args(words)  # --help, --version, or an error
        _top_parser().print_help()
        return 2
    try:
        os.getcwd()
    except OSError as error:  # libraries below end the process over it, or worse
        print(f"facodec: the current folder cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    module = import_module(module_of(words[0]))
    parser = _parser(words[0], module)
    try:
        options = parser.parse_args(words[1:])
    except ModuleNotFoundError as error:  # options of a part that says what it computes with
        return _lacking(parser.prog, error)
    return _run(parser, module, options)


def module_of(command: str) -> str:
    """Name of a command's module, which has ``EXAMPLES``, ``add_arguments`` and ``run``."""
    return ELSEWHERE.get(command, f"clients.commands.{command.replace('-', '_')}")


def _run(parser: argparse.ArgumentParser, module: ModuleType, options: argparse.Namespace) -> int:
    from clients.compiling import show_compiling
    from clients.errors import ClientError, advice
    from facodec.extras import MissingExtra
    from facodec.native import compiled
    from facodec.reasons import FileError

    _show_any_name()
    compiled.tell_with(show_compiling)
    try:
        return int(ending.unmasked(lambda: module.run(options)) or 0)
    except ClientError as error:
        print(f"{parser.prog}: {error}{advice(error, options)}", file=sys.stderr)
        return error.exit_code
    except argparse.ArgumentError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except FileError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except MissingExtra as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except ValueError as error:
        from facodec.identity import ModelMismatch

        if not isinstance(error, ModelMismatch):
            raise
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        return _lacking(parser.prog, error)
    except OSError as error:
        return _failed(parser.prog, error)


def _lacking(command: str, error: ModuleNotFoundError) -> int:
    """Tells which extra brings a package that could not be imported."""
    from facodec.extras import missing

    if error.name is None or error.name.partition(".")[0] in OURS:
        raise error
    print(f"{command}: {missing(error.name)}", file=sys.stderr)
    return 2


def _show_any_name() -> None:
    """Names that standard output cannot show come out escaped: no print may end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"facodec {name}",
        description=COMMANDS[name][:1].upper() + COMMANDS[name][1:] + ".",
        epilog=f"examples:\n{module.EXAMPLES}" if module.EXAMPLES else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    if name == "serve":
        parser.set_defaults(page=str(PAGE))
    return parser


def _top_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    parser = Parser(
        prog="facodec",
        description="Talk through FACodec, a speech codec of 4.8 kbit/s, in real time.",
        epilog=f"commands:\n{table}\n\nfacodec COMMAND --help tells more about each.\n"
        "Start with: facodec demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.add_argument("command", metavar="COMMAND", nargs="?", choices=list(COMMANDS))
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from facodec import __version__

        print(f"facodec-live {__version__}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
