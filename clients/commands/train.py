"""``facodec train``: hands over to the training."""

from __future__ import annotations

import argparse

from facodec.training import cli as training

EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    training.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from clients.errors import ClientError
    from facodec.extras import need
    from facodec.reasons import named_why

    need("train")
    try:
        return training.run(arguments)
    except (ValueError, OSError) as error:
        raise ClientError(named_why(error)) from error
