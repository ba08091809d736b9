"""The parser of commands: options are written out, and a misspelt word is told with what may have
been meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

OPTION = "--"
EMPTY = {"host"}
"""Options of which an empty word is a value: all addresses."""
LONG_USAGE = 4
"""Lines of usage that a mistake is still told below."""


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations that knows what a misspelt word may mean; so do its
    subparsers."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **{"allow_abbrev": False, **options})
        self._given: list[str] = []
        self._suggested = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = list(sys.argv[1:] if args is None else args)
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:  # a subparser tells it itself, with its own usage
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2, the message and what unknown options may mean."""
        if not self._suggested:
            message += "".join(self._suggestions())
        usage = self.format_usage()
        if usage.count("\n") > LONG_USAGE:  # would push the message out of sight
            usage = f"usage: {self.prog} ...; {self.prog} --help shows all of it\n"
        self.exit(2, f"{usage}{self.prog}: error: {message}\n")

    def options(self) -> Iterator[str]:
        """Yields the options of this parser and its subparsers, without their dashes."""
        for action in self._actions:
            yield from (each[2:] for each in action.option_strings if each.startswith(OPTION))
            for part in action.choices.values() if isinstance(action.choices, dict) else ():
                if isinstance(part, Parser):
                    yield from part.options()

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Tells of an empty word, as of a variable that is not set, which as a path would be the
        current folder."""
        has_parts = action.nargs in (argparse.PARSER, argparse.REMAINDER)
        if not arg_string and action.default != "" and not has_parts and action.dest not in EMPTY:
            raise argparse.ArgumentError(action, "expected a value, got ''")
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Tells of a value that is none of the choices."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            from facodec.names import did_you_mean

            meant = did_you_mean(str(value), map(str, action.choices or ()))
            self._suggested = bool(meant)
            raise argparse.ArgumentError(action, error.message + meant) from None

    def _suggestions(self) -> Iterator[str]:
        from facodec.names import did_you_mean

        known = set(self.options())
        for word in self._given:
            name = word[len(OPTION) :].partition("=")[0]
            if word.startswith(OPTION) and name and name not in known:
                yield did_you_mean(name, known, OPTION)
