"""``facodec serve``, as ``clients.cli`` finds it."""

from __future__ import annotations

import argparse
from dataclasses import replace

from streaming.server import settings

EXAMPLES = """\
  facodec serve                                   the bundled model at ws://127.0.0.1:8765, and a
                                                  page for browsers at http://127.0.0.1:8765
  facodec serve --host 0.0.0.0 --token-file FILE  for other machines, which have to show a token
  facodec serve --host 0.0.0.0 --token-file FILE --tls-cert cert.pem --tls-key key.pem   as wss://
  facodec serve --host 0.0.0.0 --token-file FILE --tls-self-signed --quic-port 8765
                                                  beside that as quic://, for networks that lose
  facodec serve --model weights/ --port 9000      a model from a folder
Ctrl-C or SIGTERM lets sessions finish, a second one does not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    settings.add_arguments(parser)
    parser.add_argument(
        "--tls-self-signed",
        action="store_true",
        help="serve wss:// and https:// with a certificate of our own, which browsers warn of",
    )
    parser.add_argument(
        "--quic-port",
        type=int,
        metavar="N",
        help="serve quic:// too, at this UDP port, 0 takes a free one; needs a certificate, and "
        "the extra 'quic' (default: not served)",
    )
    parser.add_argument(
        "--no-page",
        dest="page",
        action="store_const",
        const=None,
        default=None,
        help="show browsers no page to talk and listen with",
    )


def run(options: argparse.Namespace) -> int:
    """Runs a server until it is stopped. Raises ArgumentError for settings out of range."""
    from facodec.extras import need

    try:
        chosen = settings.from_arguments(options)
        chosen = replace(chosen, page=options.page)
        if options.tls_self_signed:
            chosen = _self_signed(chosen)
        chosen = replace(chosen, quic_port=options.quic_port)
    except ValueError as error:
        raise argparse.ArgumentError(None, str(error)) from error
    need("server")
    if chosen.quic_port is not None:
        need("quic")
    from streaming.server import listening as server

    return server.run(chosen)


def _self_signed(chosen: settings.ServerSettings) -> settings.ServerSettings:
    from facodec.folders import base_directory
    from streaming.server.tls import fingerprint, own_certificate, own_names

    if chosen.tls_cert is not None:
        raise ValueError("--tls-self-signed makes a certificate: leave out --tls-cert, or that")
    try:
        folder = base_directory("XDG_CONFIG_HOME", ".config") / "facodec"
    except OSError as error:
        raise ValueError(f"--tls-self-signed: {error}") from error
    path = own_certificate(folder, own_names())
    sentence = (
        f"the certificate is self-signed ({path}): browsers warn that they do not know it. Compare "
        f"its SHA-256 fingerprint, {fingerprint(path)}, then let them go on"
    )
    return replace(chosen, tls_cert=str(path), warnings=(*chosen.warnings, sentence))
