"""A page shown in the user's browser, where there is a display and somebody before it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import webbrowser
from collections.abc import Mapping

from clients.session.signals import signals_told

NO_BROWSER_VARIABLE = "FACODEC_NO_BROWSER"
ELSEWHERE = ("CI", "SSH_CONNECTION", "SSH_TTY", NO_BROWSER_VARIABLE)
"""Variables that are set where nobody sees what opens on this machine, or wants to."""
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
WITH_DISPLAY = ("darwin", "win32")
"""Systems whose users sit before a display."""


def can_show(environment: Mapping[str, str], platform: str, *, at_terminal: bool) -> bool:
    """Whether a page that opens here is seen. ``at_terminal``: whether a person gave the command,
    and can end it."""
    if not at_terminal or any(environment.get(name) for name in ELSEWHERE):
        return False
    return platform in WITH_DISPLAY or any(environment.get(name) for name in DISPLAYS)


def can_show_here() -> bool:
    """Whether a page that this process opens is seen."""
    at_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    return can_show(os.environ, sys.platform, at_terminal=at_terminal)


async def show_until_enter(url: str) -> None:
    """Opens a page, and waits for Enter or a signal that ends commands."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def on_enter() -> None:
        sys.stdin.readline()
        over.set()

    loop.add_reader(sys.stdin, on_enter)
    # A thread of its own: some browsers return when they are closed, and nobody waits for that.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    try:
        with signals_told(over.set):
            await over.wait()
    finally:
        loop.remove_reader(sys.stdin)
