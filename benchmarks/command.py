"""``facodec bench``, as ``clients.cli`` finds it: what goes wrong becomes a sentence."""

from __future__ import annotations

import argparse

from benchmarks import cli

EXAMPLES = """\
  facodec bench quality --help
  facodec bench step --help"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the benchmarks. Raises ClientError where one cannot be measured."""
    from clients.errors import ClientError
    from facodec.reasons import named_why

    try:
        return cli.run(arguments)
    except (ValueError, OSError) as error:
        raise ClientError(named_why(error)) from error
