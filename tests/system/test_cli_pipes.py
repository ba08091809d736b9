"""Pipes whose other end nobody has opened, or nobody uses: Ctrl-C and SIGTERM end the wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from facodec.identity import ModelIdentity
from facodec.reasons import FileError
from facodec.recording.blocks import Header
from facodec.recording.writing import RecordingFile
from tests.conftest import ROOT

FACODEC = [sys.executable, "-m", "clients.cli"]
HELLO = str(ROOT / "tests" / "data" / "hello.flac")
NOWHERE = ["--server", "ws://127.0.0.1:9"]
"""An address of no server: a pipe is waited for before anybody is called."""
TIMEOUT = 60


def ended_by(number: signal.Signals, process: subprocess.Popen[str], told: str) -> tuple[int, str]:
    """Exit status of a command that a signal comes to once it has told this, and what it told."""
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline()]
        while told not in lines[-1]:
            assert lines[-1], lines
            lines.append(process.stderr.readline())
        process.send_signal(number)
        rest = process.communicate(timeout=TIMEOUT)[1]
        return process.returncode, "".join(lines) + rest
    finally:
        process.kill()
        process.wait(TIMEOUT)


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (["talk", "--input", "pipe.wav", "--output", "out.wav", *NOWHERE], signal.SIGINT),
        (["publish", "room", "--input", "pipe.wav", *NOWHERE], signal.SIGTERM),
        (["talk", "--input", HELLO, "--output", "pipe.wav", *NOWHERE], signal.SIGTERM),
        (["listen", "room", "--output", "pipe.fac", *NOWHERE], signal.SIGINT),
        (["publish", "room", "--input", HELLO, "--talker", "pipe.wav", *NOWHERE], signal.SIGINT),
        (["info", "pipe.fac"], signal.SIGTERM),
    ],
)
def test_a_signal_ends_the_wait_for_a_pipe(
    tmp_path: Path, words: list[str], number: signal.Signals
) -> None:
    for name in ("pipe.wav", "pipe.fac"):
        os.mkfifo(tmp_path / name)
    process = subprocess.Popen(
        [*FACODEC, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    status, said = ended_by(number, process, "is a pipe: waiting for its other end")
    assert status == (130 if number == signal.SIGINT else 143)
    assert said.count("\n") == 1, said
    assert sorted(os.listdir(tmp_path)) == ["pipe.fac", "pipe.wav"]


def test_a_signal_ends_playing_a_pipe_that_gives_nothing_more(tmp_path: Path) -> None:
    pipe = tmp_path / "talk.fac"
    os.mkfifo(pipe)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from clients.audio.endpoints import FileSink\n"
        "from clients.offline.playback import Part\n"
        "from clients.session.play import play\n"
        "class Sink(FileSink):\n"
        "  def play(self, samples, *given, **more):\n"
        "    print('heard', file=sys.stderr, flush=True)\n"
        f"play(Path({str(pipe)!r}), Part(), Sink(Path({str(tmp_path / 'out.wav')!r})),\n"
        "  voice=None, model='live')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    # The end mark finds nobody to read it.
    with suppress(FileError), RecordingFile(pipe, Header(ModelIdentity("live"))) as file:
        file.voice(np.zeros(256, np.float32), exact=True)
        file.push(np.zeros((6, 320), np.int64))
        status, said = ended_by(signal.SIGTERM, process, "heard")
    assert status == 0 and "Traceback" not in said
