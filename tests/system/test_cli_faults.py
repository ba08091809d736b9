"""Early ends: Ctrl-C, a server that dies, restarts, freezes or is not there."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

FACODEC = [sys.executable, "-m", "clients.cli"]
HELLO = Path(__file__).parents[1] / "data" / "hello.flac"
TIMEOUT = 120


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    """Whatever a failed test leaves behind is killed."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait(TIMEOUT)


class Running:
    """A command whose JSON lines are read as they come."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [*FACODEC, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        STARTED.append(self.process)
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Until some line is what is wanted."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self._closed or any(map(wanted, self.objects())), TIMEOUT
            )
            assert any(map(wanted, self.objects())), self.lines

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Exit status and what it said on stderr."""
        status = self.process.wait(TIMEOUT)
        self._thread.join(TIMEOUT)
        assert self.process.stderr is not None
        return status, self.process.stderr.read()


class Server:
    def __init__(self, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [*FACODEC, "serve", "--port", str(port)], stdout=subprocess.PIPE, text=True
        )
        STARTED.append(self.process)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("serving at "), line
        self.url = line.split()[2]
        self.port = int(self.url.rpartition(":")[2])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(TIMEOUT)


def talk(server: Server, out: Path, *more: str) -> Running:
    return Running(
        "talk", "--server", server.url, "--input", HELLO, "--output", out, "--json", *more
    )


def flows(line: dict[str, Any]) -> bool:
    return line["type"] == "status" and line["frames_out"] > 0


def test_ctrl_c_finishes_what_is_under_way(tmp_path: Path) -> None:
    server, out = Server(), tmp_path / "out.wav"
    command = talk(server, out)
    command.wait_for(flows)
    command.tell(signal.SIGINT)
    status, errors = command.end()
    server.stop()
    assert status == 0, errors
    summary = command.objects()[-1]
    assert summary["type"] == "summary"
    assert 0 < summary["frames_out"] == summary["frames_in"] < 523
    assert soundfile.info(out).frames == summary["frames_out"] * 200


def test_a_second_ctrl_c_does_not_wait_for_a_frozen_server(tmp_path: Path) -> None:
    server, out = Server(), tmp_path / "out.wav"
    command = talk(server, out)
    command.wait_for(flows)
    server.process.send_signal(signal.SIGSTOP)
    command.tell(signal.SIGINT)
    command.tell(signal.SIGTERM)
    status, errors = command.end()
    server.process.send_signal(signal.SIGCONT)
    server.stop()
    assert status == 130, errors
    assert soundfile.info(out).frames > 0


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGKILL, "the connection to the server was lost; with --reconnect"),
        (signal.SIGTERM, "the server is shutting down"),
    ],
)
def test_a_server_that_dies_is_reported(
    number: signal.Signals, sentence: str, tmp_path: Path
) -> None:
    server, out = Server(), tmp_path / "out.wav"
    command = talk(server, out)
    command.wait_for(flows)
    server.stop(number)
    status, errors = command.end()
    assert status == 1
    assert sentence in errors and "Traceback" not in errors
    assert soundfile.info(out).frames > 0
    assert command.objects()[-1]["type"] == "summary"


def test_reconnect_comes_back_after_a_restart(tmp_path: Path) -> None:
    server, out = Server(), tmp_path / "out.wav"
    command = talk(server, out, "--reconnect")
    command.wait_for(flows)
    server.stop(signal.SIGKILL)
    command.wait_for(lambda line: "trying again in" in line.get("message", ""))
    again = Server(server.port)
    status, errors = command.end()
    again.stop()
    assert status == 0, errors
    summary = command.objects()[-1]
    assert summary["reconnects"] >= 1
    assert summary["frames_in"] == 523
    assert 0 < summary["frames_out"] <= 523
    said = [line["message"] for line in command.objects() if line["type"] == "message"]
    assert sum(message.startswith("connected to") for message in said) == 2


def test_ctrl_c_while_there_is_no_server_ends_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
        command = Running(
            "talk", "--server", url, "--input", HELLO, "--output", tmp_path / "o.wav",
            "--reconnect", "--json",
        )  # fmt: skip
        command.wait_for(lambda line: "trying again in" in line.get("message", ""))
        command.tell(signal.SIGINT)
        assert command.end()[0] == 0


def test_no_server_is_a_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
        command = Running("talk", "--server", url, "--input", HELLO, "--output", tmp_path / "o.wav")
        status, errors = command.end()
    assert status == 1
    assert "start one with `facodec serve`, or add --serve" in errors
    assert "Traceback" not in errors


def test_a_server_of_its_own_does_not_outlive_a_killed_command(tmp_path: Path) -> None:
    command = Running(
        "talk", "--serve", "--input", HELLO, "--output", tmp_path / "out.wav", "--json"
    )
    command.wait_for(flows)
    (connected,) = (line for line in command.objects() if line["type"] == "message")
    port = int(connected["message"].split(": ")[0].rpartition(":")[2])
    command.tell(signal.SIGKILL)
    command.end()
    deadline = time.monotonic() + TIMEOUT
    while _listens(port):
        assert time.monotonic() < deadline, "the server stayed"
        time.sleep(0.05)  # nothing tells of the end of a process that is not a child


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_serve_starts_and_stops_a_server_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    command = Running("talk", "--serve", "--fast", "--input", HELLO, "--output", out)
    status, errors = command.end()
    assert status == 0, errors
    assert soundfile.info(out).frames == 523 * 200
