"""Sessions of a server on a terminal, again and again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from clients.errors import ConnectError, UsageError, WrongProtocol
from clients.library.addresses import without_secrets
from clients.library.asking import ask
from clients.session.watched import COLUMNS, FIRST_NUMBER, MEANING, Look, Watch
from facodec.extras import need

if TYPE_CHECKING:
    from rich.console import RenderableType

PATH = "sessions"


def top(
    url: str, *, token: str | None, ca: str | None, once: bool, as_json: bool, interval: float
) -> None:
    """Shows the sessions of the server at ``url``, ``once`` or every ``interval`` s until Ctrl-C.
    Raises ClientError where the first look fails, MissingExtra where rich is missing for a
    display."""
    watch = Watch()

    def look() -> Look:
        try:
            return watch.look(ask(url, PATH, token=token, ca=ca))
        except ValueError as error:
            place = without_secrets(url)
            raise WrongProtocol(f"what answers at {place} is no facodec server: {error}") from None

    if once or as_json:
        _print(look, once=once, as_json=as_json, interval=interval)
        return
    need("top")
    if not sys.stdout.isatty():
        raise UsageError("a display needs a terminal: use --once or --json")
    _display(look, url, interval)


def _print(look: Callable[[], Look], *, once: bool, as_json: bool, interval: float) -> None:
    while True:
        seen = look()
        print(json.dumps(seen.as_dict()) if as_json else seen.table(), flush=True)
        if once:
            return
        time.sleep(interval)


def _display(look: Callable[[], Look], url: str, interval: float) -> None:
    from rich.live import Live

    seen, trouble = look(), ""
    with Live(_picture(seen, url, trouble), screen=True, auto_refresh=False) as live:
        while True:
            live.update(_picture(seen, url, trouble), refresh=True)
            time.sleep(interval)
            try:
                seen, trouble = look(), ""
            except ConnectError as error:
                if not error.retryable:
                    raise
                trouble = str(error)


def _picture(seen: Look, url: str, trouble: str) -> RenderableType:
    """The display as rich shows it: nothing of what a server says is markup."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    for at, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if at >= FIRST_NUMBER else "left", no_wrap=True)
    for row in seen.rows():
        table.add_row(*map(Text, row))
    lines = [Text(without_secrets(url), style="bold"), *map(Text, seen.heading())]
    if trouble:
        lines.append(Text(trouble, style="bold red"))
    return Group(*lines, table, Text(f"{MEANING}. Ctrl-C ends.", style="dim"))
