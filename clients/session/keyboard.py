"""Single keys from a terminal, which is as it was before whenever this process does not run in
front of it: at the end however it comes, while it is stopped, and in the background."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

try:
    import termios
except ImportError:  # a system without terminals of this kind
    termios = None  # type: ignore[assignment]

LOOK_EVERY = 0.5
"""Seconds between two looks at who is in front of the terminal."""
ESCAPE = "\x1b"
ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
LONGEST_READ = 1024
LOCAL, CONTROL = 3, 6
"""Places in the settings of a terminal: what it does with input, and its characters."""


class KeyParser:
    """Bytes of a terminal in, names of keys out: a character, or ``up``, ``down``, ``left``,
    ``right``. Other sequences are left out, and so is a lone Escape."""

    def __init__(self) -> None:
        self._sequence = ""

    def push(self, data: bytes) -> list[str]:
        """Takes some bytes, which may end within a sequence."""
        keys = []
        for character in data.decode("ascii", "ignore"):
            if character == ESCAPE:
                self._sequence = ESCAPE
            elif self._sequence:
                keys += self._follow(character)
            else:
                keys.append(character)
        return keys

    def _follow(self, character: str) -> list[str]:
        if self._sequence == ESCAPE:
            introduces = character in "[O"
            self._sequence += character if introduces else ""
            if not introduces:
                self._sequence = ""
                return [character]
            return []
        plain, self._sequence = len(self._sequence) == 2, self._sequence + character
        if not "@" <= character <= "~":
            return []
        self._sequence = ""
        return [ARROWS[character]] if plain and character in ARROWS else []


class Keyboard:
    """Hands keys to ``press`` on the event loop while it is entered: ``with Keyboard(...)``.

    ``stream``: standard input. Where that is no terminal, nothing happens. Ctrl-C, Ctrl-Z and
    Ctrl-\\ mean what they always do.
    """

    def __init__(self, stream: TextIO | None, press: Callable[[str], None]) -> None:
        self._terminal = _terminal(stream)
        self._press = press
        self._keys = KeyParser()
        self._before: list[Any] | None = None
        self._is_ours = self._stops = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is a terminal to read keys from."""
        return self._terminal is not None

    def __enter__(self) -> Keyboard:
        if self._terminal is not None:
            self._loop = asyncio.get_running_loop()
            atexit.register(self._give_back)
            self._stops = signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
            if self._stops:
                self._loop.add_signal_handler(signal.SIGTSTP, self._stop)
            self._loop.add_signal_handler(signal.SIGCONT, self._look)
            self._look_on()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._terminal is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_signal_handler(signal.SIGCONT)
        if self._stops:
            self._loop.remove_signal_handler(signal.SIGTSTP)
        self._give_back()
        atexit.unregister(self._give_back)

    def _look_on(self) -> None:
        self._look()
        self._timer = self._loop.call_later(LOOK_EVERY, self._look_on)

    def _look(self) -> None:
        """Takes the terminal where this process is in front of it; who does not is stopped when
        touching it, and the shell has set it up for itself."""
        if not self._is_in_front():
            self._release()
        elif not self._is_ours or self._has_lines():
            self._take()

    def _is_in_front(self) -> bool:
        assert self._terminal is not None
        try:
            return os.tcgetpgrp(self._terminal) == os.getpgrp()
        except OSError:  # nobody shares it out
            return True

    def _has_lines(self) -> bool:
        """Whether somebody has set the terminal to whole lines again, as shells do."""
        assert self._terminal is not None
        try:
            return bool(termios.tcgetattr(self._terminal)[LOCAL] & termios.ICANON)
        except termios.error:
            return False

    def _take(self) -> None:
        assert self._terminal is not None
        with suppress(termios.error):
            settings = termios.tcgetattr(self._terminal)
            if self._before is None or settings[LOCAL] & termios.ICANON:
                self._before = settings
            changed = [*settings[:CONTROL], list(settings[CONTROL])]
            changed[LOCAL] &= ~(termios.ICANON | termios.ECHO)
            changed[CONTROL][termios.VMIN], changed[CONTROL][termios.VTIME] = 1, 0
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, changed)
            self._loop.add_reader(self._terminal, self._read)
            self._is_ours = True

    def _release(self) -> None:
        """Leaves the terminal alone, as it is."""
        if self._is_ours and self._terminal is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._terminal)
        self._is_ours = False

    def _give_back(self) -> None:
        """Leaves the terminal as it was."""
        terminal, before = self._terminal, self._before
        if self._is_ours and terminal is not None and before is not None and self._is_in_front():
            with suppress(termios.error):
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        self._release()

    def _stop(self) -> None:
        """Ctrl-Z: gives the terminal back, stops as anybody would, and goes on from here."""
        self._give_back()
        self._loop.remove_signal_handler(signal.SIGTSTP)
        signal.raise_signal(signal.SIGTSTP)
        self._loop.add_signal_handler(signal.SIGTSTP, self._stop)
        self._look()

    def _read(self) -> None:
        assert self._terminal is not None
        try:
            data = os.read(self._terminal, LONGEST_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._loop.remove_reader(self._terminal)
        for key in self._keys.push(data):
            self._press(key)


def _terminal(stream: TextIO | None) -> int | None:
    """Descriptor of the terminal that a stream is; None where it is none."""
    try:
        if termios is None or stream is None or not stream.isatty():
            return None
        return stream.fileno()
    except (OSError, ValueError):  # closed, or no file
        return None
