"""Compiling is told at a terminal, and in no pipe."""

from __future__ import annotations

import io

from clients.compiling import show_compiling


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_told_and_a_pipe_is_not() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    times = iter((0.0, 0.0, 7.0))
    with show_compiling("fast", terminal, lambda: next(times)):
        pass
    with show_compiling("fast", pipe):
        pass
    told = terminal.getvalue()
    assert "compiling once (C code of fast" in told and told.endswith("7 s\n")
    assert pipe.getvalue() == ""
