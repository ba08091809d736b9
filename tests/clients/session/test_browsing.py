"""A page that opens by itself: where somebody sees it, and until that one has had enough."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from clients.session.browsing import can_show

PROGRAM = """
import asyncio
from clients.session.browsing import can_show_here, show_until_enter
print("seen", can_show_here(), flush=True)
asyncio.run(show_until_enter("http://127.0.0.1:1/page"))
print("over", flush=True)
"""


@pytest.mark.parametrize(
    ("environment", "platform", "seen"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({}, "darwin", True),
        ({}, "win32", True),
        ({"CI": "true"}, "darwin", False),
        ({"DISPLAY": ":0", "CI": "1"}, "linux", False),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "a 1 b 2"}, "linux", False),
        ({"DISPLAY": ":0", "FACODEC_NO_BROWSER": "1"}, "linux", False),
    ],
)
def test_it_opens_where_it_is_seen(environment: dict[str, str], platform: str, seen: bool) -> None:
    assert can_show(environment, platform, at_terminal=True) == seen
    assert not can_show(environment, platform, at_terminal=False)


def test_it_opens_in_the_browser_and_enter_ends(tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    os.mkfifo(opened)
    browser.write_text(f"#!/bin/sh\necho $1 > {opened}\n")
    browser.chmod(0o755)
    hidden = ("CI", "SSH_CONNECTION", "SSH_TTY", "FACODEC_NO_BROWSER")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"DISPLAY": ":0", "BROWSER": str(browser)}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=theirs, stdout=theirs, env=environment
    ) as process:
        try:
            assert opened.read_text() == "http://127.0.0.1:1/page\n"
            os.write(ours, b"\n")
            assert process.wait(30) == 0
            shown = os.read(ours, 4096)
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)
    assert b"seen True" in shown and b"over" in shown
