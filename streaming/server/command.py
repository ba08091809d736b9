"""``facodec serve``, as ``clients.cli`` finds it."""

from __future__ import annotations

import argparse

from streaming.server import settings

EXAMPLES = """\
  facodec serve                                   the bundled model at ws://127.0.0.1:8765
  facodec serve --host 0.0.0.0 --token-file FILE  for other machines, which have to show a token
  facodec serve --host 0.0.0.0 --token-file FILE --tls-cert cert.pem --tls-key key.pem   as wss://
  facodec serve --model weights/ --port 9000      a model from a folder
Ctrl-C or SIGTERM lets sessions finish, a second one does not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    settings.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Runs a server until it is stopped. Raises ArgumentError for settings out of range."""
    from facodec.extras import need

    try:
        chosen = settings.from_arguments(options)
    except ValueError as error:
        raise argparse.ArgumentError(None, str(error)) from error
    need("server")
    from streaming.server import listening as server

    return server.run(chosen)
