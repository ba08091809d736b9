"""Keys at a real terminal, and the terminal afterwards."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clients.session.keyboard import LOCAL, KeyParser

PROGRAM = """
import asyncio, signal, sys
from clients.session.keyboard import Keyboard

async def main():
    over = asyncio.Event()
    def press(key):
        print("key", repr(key), flush=True)
        if key == "q":
            over.set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    with Keyboard(sys.stdin, press) as keyboard:
        print("ready", keyboard.is_there, flush=True)
        await over.wait()
        if "fails" in sys.argv:
            raise RuntimeError("on purpose")

asyncio.run(main())
"""
SHELL = """
import os, signal, subprocess, sys, termios

def turn(group):
    os.tcsetpgrp(0, group)
    if group != os.getpgrp():
        os.killpg(group, signal.SIGCONT)

def tell(word, status):
    turn(os.getpgrp())
    lines = bool(termios.tcgetattr(0)[3] & termios.ICANON)
    print(word, os.WIFSTOPPED(status), lines, flush=True)

signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], preexec_fn=os.setpgrp)
turn(child.pid)
tell("stopped", os.waitpid(child.pid, os.WUNTRACED)[1])
turn(child.pid)
tell("ended", os.waitpid(child.pid, 0)[1])
"""


class Terminal:
    """Both ends of a terminal, and all that it has shown."""

    def __init__(self, ours: int) -> None:
        self.ours = ours
        self.shown = b""

    def until(self, word: bytes) -> None:
        """Reads on until this was shown."""
        while word not in self.shown:
            piece = os.read(self.ours, 4096)
            assert piece, self.shown
            self.shown += piece

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)


@contextmanager
def running(*words: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes], int]]:
    """The program at a terminal that nobody shares out; and the terminal's other end."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, *words]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        try:
            yield Terminal(ours), process, theirs
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)


def local_settings(terminal: int) -> int:
    return int(termios.tcgetattr(terminal)[LOCAL])


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"n?+", ["n", "?", "+"]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[1;5Cm", ["m"]),
        (b"\x1b[3~\x1b[200~n", ["n"]),
        (b"\x1bn", ["n"]),
        (b"\x1b\x1b[A", ["up"]),
        ("ünö".encode(), ["n"]),
    ],
)
def test_bytes_become_keys_however_they_are_cut(data: bytes, keys: list[str]) -> None:
    whole, pieces = KeyParser(), KeyParser()
    assert whole.push(data) == keys
    assert [key for at in range(len(data)) for key in pieces.push(data[at : at + 1])] == keys


@pytest.mark.parametrize("end", ["key", "SIGTERM", "fails"])
def test_the_terminal_is_as_it_was(end: str) -> None:
    with running(*(["fails"] if end == "fails" else [])) as (terminal, process, theirs):
        before = local_settings(theirs)
        terminal.until(b"ready True")
        assert not local_settings(theirs) & (termios.ICANON | termios.ECHO)
        assert local_settings(theirs) & termios.ISIG
        terminal.type(b"\x1b[A")
        terminal.until(b"key 'up'")
        if end == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            terminal.type(b"q")
        assert process.wait(20) == (1 if end == "fails" else 0)
        assert local_settings(theirs) == before


def test_a_shell_gets_the_terminal_back_while_it_waits() -> None:
    """Ctrl-Z, then in front again."""
    pid, ours = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", SHELL, PROGRAM])
    terminal = Terminal(ours)
    try:
        terminal.until(b"ready True")
        terminal.type(b"a")
        terminal.until(b"key 'a'")
        terminal.type(b"\x1a")
        terminal.until(b"stopped True True")
        terminal.type(b"b")
        terminal.until(b"key 'b'")
        terminal.type(b"q")
        terminal.until(b"ended False True")
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        os.close(ours)


def test_without_a_terminal_nothing_happens() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("await over.wait()", "pass")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "ready False\n"
