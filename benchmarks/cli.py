"""``facodec bench``: all of it in one report, or one part. Each part is a module of its own, which
is imported when it is asked for."""

from __future__ import annotations

import argparse
import os
from typing import Any

from benchmarks.registry import PARTS, part_module
from clients.options import CA_VARIABLE, TOKEN_VARIABLE
from clients.parsing import Parser
from facodec.extras import need
from facodec.files import need_folder, need_speech, need_writable

WITHOUT_CODEC = {"report"}


class _Lazy(Parser):
    """A part's parser, which gets its options when it is used: numpy and torch take their time."""

    def __init__(self, *words: Any, part: str = "", **options: Any) -> None:
        super().__init__(*words, **options)
        self._part = part

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._part:
            part, self._part = self._part, ""
            self.set_defaults(out=None)  # the folder of the whole report is none of a part's
            part_module(part).add_arguments(self)
        return super().parse_known_args(args, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from benchmarks import suite

    suite.add_arguments(parser)
    parts = parser.add_subparsers(
        dest="part", required=False, metavar="PART", title="parts", parser_class=_Lazy
    )
    for name, summary in PARTS.items():
        text = f"{summary[0].upper()}{summary[1:]}."
        parts.add_parser(name, help=summary, description=text, part=name)


def run(args: argparse.Namespace) -> int:
    if args.part not in WITHOUT_CODEC:
        need("server")
    _check_given(args)
    import numpy  # noqa: F401 - torch's own import of it swallows a Ctrl-C

    if args.part:
        result: int = part_module(args.part).run(args)
        return result
    from benchmarks import suite

    return suite.run(args)


def _check_given(args: argparse.Namespace) -> None:
    """Before a quarter of an hour of work: what is to be read is there, what is to be written can
    be, and a server answers. Raises FileError and ConnectError."""
    if (server := getattr(args, "server", None)) is not None:
        from clients.library.asking import ask

        token, ca = (os.environ.get(name) for name in (TOKEN_VARIABLE, CA_VARIABLE))
        ask(server, "/healthz", token=token, ca=ca)
    for name in ("data", "probe_data"):
        if (given := getattr(args, name, None)) is not None:
            need_speech(given)
    folder = getattr(args, "out", None)
    if folder is not None:
        need_folder(folder)
    for name in ("save_baseline", "html"):
        if (path := getattr(args, name, None)) is not None:
            need_writable(path)
