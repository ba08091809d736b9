"""``facodec bench``: hands over to the benchmarks."""

from __future__ import annotations

import argparse

from benchmarks import cli as benchmarks

EXAMPLES = """\
  facodec bench quality --help
  facodec bench step --help"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    benchmarks.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from clients.errors import ClientError

    try:
        return benchmarks.run(arguments)
    except (ValueError, OSError) as error:
        raise ClientError(str(error)) from error
