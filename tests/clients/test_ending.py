"""Tests of clients.ending: Ctrl-C and SIGTERM at any moment of a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clients import ending
from facodec import reasons
from facodec.files import Replacement
from tests.conftest import ROOT


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    raise AssertionError("expected the signal to raise")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_removes_the_unfinished_file_and_gives_its_status(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def command() -> int:
        with Replacement(tmp_path / "out.fac") as out:
            out.write(b"half")
            send(number)
        return 0

    assert ending.run(command) == status
    assert list(tmp_path.iterdir()) == []
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_that_an_import_turned_into_another_error_is_no_traceback() -> None:
    def command() -> int:
        try:
            send(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy's C extensions failed") from None
        return 0

    assert ending.run(command) == 130


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_error_that_was_made_of_a_signal_leaves_as_the_signal(
    number: signal.Signals, status: int
) -> None:
    def read() -> int:
        try:
            send(number)
        except KeyboardInterrupt:
            raise reasons.FileError("live.safetensors is damaged") from None
        return 0

    def command() -> int:
        try:
            return ending.unmasked(read)
        except reasons.FileError:
            raise AssertionError("expected no sentence about the file") from None

    assert ending.run(command) == status


def test_an_error_is_not_laid_to_an_earlier_command_s_signal() -> None:
    def damaged() -> int:
        raise reasons.FileError("damaged")

    ending.run(lambda: send(signal.SIGINT))
    with pytest.raises(reasons.FileError):
        ending.run(lambda: ending.unmasked(damaged))


def test_an_error_without_a_signal_stays_one() -> None:
    def command() -> int:
        raise ImportError("really")

    with pytest.raises(ImportError, match="really"):
        ending.run(command)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def command() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 0

    try:
        assert ending.run(command) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_little_is_imported_before_signals_are_minded() -> None:
    code = "import sys; before = set(sys.modules); import clients.cli; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout
    assert not {"numpy", "torch", "asyncio", "socket", "importlib.metadata"} & set(out.split())
