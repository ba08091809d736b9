"""Commands at a real terminal, and recordings of several people."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clients.audio.files import read_audio
from clients.offline.recordings import progress
from clients.offline.voicebook import BUNDLED

FACODEC = [sys.executable, "-m", "clients.cli"]
HELLO = Path(__file__).parents[1] / "data" / "hello.flac"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_a_terminal(*words: object, until: bytes = b"", **env: str) -> tuple[int, bytes]:
    """Exit status, and what a terminal of no known width shows; Ctrl-C comes after ``until``."""
    ours, theirs = pty.openpty()
    command = [*FACODEC, *map(str, words)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **env},
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown, told = b"", False
        try:
            while piece := _read(ours):
                shown += piece
                if until and not told and until in shown:
                    process.send_signal(2)
                    told = True
            return process.wait(60), shown
        finally:
            process.kill()
            os.close(ours)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def test_the_first_command_tells_that_it_compiles(tmp_path: Path) -> None:
    fac = tmp_path / "a.fac"
    status, shown = at_a_terminal("encode", HELLO, fac, XDG_CACHE_HOME=str(tmp_path))
    assert status == 0 and b"compiling once (C code of" in shown
    status, shown = at_a_terminal("encode", HELLO, fac, XDG_CACHE_HOME=str(tmp_path))
    assert status == 0 and b"compiling" not in shown


def test_a_server_tells_that_it_compiles_and_ends_at_once(tmp_path: Path) -> None:
    status, shown = at_a_terminal(
        "serve", "--port", "0", until=b"serving at", XDG_CACHE_HOME=str(tmp_path)
    )
    assert status == 0 and shown.index(b"compiling once") < shown.index(b"serving at")


def test_a_long_recording_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, told in ((3600.0, "decoding: 90 s of 3600 s"), (None, "decoding: 90 s of sound")):
        monkeypatch.setattr("sys.stderr", terminal := Terminal())
        with progress("decoding", seconds) as bar:
            bar.start_t = bar.last_print_t = 0.0  # as if it had begun long ago
            bar.update(90)
        assert told in terminal.getvalue()


def test_several_people_are_remarked_on_here_and_by_a_server(
    tmp_path: Path, server_process: Callable[..., Any]
) -> None:
    one, other = (read_audio(BUNDLED[name]) for name in ("slt", "rms"))
    soundfile.write(tmp_path / "one.wav", np.concatenate([one, one]), 16_000)
    soundfile.write(tmp_path / "both.wav", np.concatenate([one, other]), 16_000)
    env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    with server_process() as server:
        for more in ([], ["--server", server.url]):
            for name, several in (("one", False), ("both", True)):
                add = ["voices", "add", name, str(tmp_path / f"{name}.wav"), "--replace", *more]
                done = subprocess.run(
                    [*FACODEC, *add], env=env, capture_output=True, text=True, timeout=120
                )
                assert done.returncode == 0, done.stderr
                assert ("seems to be of several people" in done.stderr) == several
