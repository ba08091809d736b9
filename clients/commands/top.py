"""``facodec top``: the sessions of a server."""

from __future__ import annotations

import argparse

from clients import options

EXAMPLES = """\
  facodec top                                       the server on this machine, until Ctrl-C
  facodec top --server wss://host:8765 --token-file tokens
  facodec top --once                                a table, without the extra 'top'
  facodec top --json | jq '.sessions[].in_kbps'
A server with tokens tells it to who has one of all rights, one without to its own machine."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        metavar="URL",
        help="ws:// or wss:// address "
        f"(default ${options.SERVER_VARIABLE}, else {options.DEFAULT_URL})",
    )
    options.add_trust(parser)
    parser.add_argument("--once", action="store_true", help="print a table and end")
    parser.add_argument("--json", action="store_true", help="print JSON, an object a line")
    parser.add_argument(
        "--interval",
        type=options.interval,
        default=1.0,
        metavar="SECONDS",
        help="between two looks, 0.2 to 3600 (default 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    from contextlib import suppress

    from clients.session.top import top

    with suppress(KeyboardInterrupt):
        top(
            options.server(arguments) or options.DEFAULT_URL,
            token=options.token(arguments, all_rights=True),
            ca=options.ca(arguments),
            once=arguments.once,
            as_json=arguments.json,
            interval=arguments.interval,
        )
    return 0
