"""One talk over one path: the processes at both ends, and the figures of what was heard."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks.kit.processes import CLI, PATIENCE, end
from benchmarks.link.codecs import Contender
from benchmarks.link.conditions import Path as Conditions
from benchmarks.link.forward import BACK, THERE, Entry
from benchmarks.link.hearing import Heard
from benchmarks.link.namespaces import Namespace
from clients.options import CA_VARIABLE, TOKEN_VARIABLE
from streaming.server.tls import own_certificate

if TYPE_CHECKING:
    from benchmarks.link.sound import Audio

NEAR, FAR = "10.77.0.1", "10.77.0.2"
LOOK_EVERY = 0.2
"""Seconds from one look to the next at whether to stop, where something else is waited for."""
STOPPED = "it was told to stop"
START, LEAD, TAIL = 90.0, 1.5, 4.0
"""Seconds for all to be connected, from then to the first word, and from the last to the end."""
Side = Literal["up", "down"]
"""Place of the path: before the server, or behind it."""


@dataclass(frozen=True)
class Outcome:
    """A talk that was carried. ``there_kbps``, ``back_kbps``: bits that were sent into the path
    while it lasted, with IP headers; ``told``: the sender's own summary."""

    heard: Heard
    there_kbps: float
    back_kbps: float
    told: dict[str, Any]


class Interrupted(ValueError):
    """A talk that was told to stop."""


class Watched:
    """A process whose lines are read as they come. ``stop``: is waited for no longer when set."""

    def __init__(self, process: subprocess.Popen[str], stop: threading.Event | None = None) -> None:
        self.process = process
        self._stop = stop or threading.Event()
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._gone = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, text: str) -> str:
        """The first line with this text. Raises ValueError where it does not come, Interrupted
        where that is told to stop."""
        deadline = time.monotonic() + START
        with self._changed:
            while not (found := [line for line in self.lines if text in line]):
                left = deadline - time.monotonic()
                if self._stop.is_set():
                    raise Interrupted(STOPPED)
                if self._gone or left <= 0:
                    last = self.lines[-1].strip() if self.lines else "it said nothing"
                    raise ValueError(f"expected {text!r} of a process, got: {last}")
                self._changed.wait(min(left, LOOK_EVERY))
        return found[0]

    def tell(self, line: str) -> None:
        """A line for its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def finish(self) -> None:
        """Asks it to end by the end of its input and by Ctrl-C, and waits."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._thread.join(PATIENCE)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._gone = True
            self._changed.notify_all()


def carry(
    name: str,
    path: Conditions,
    contender: Contender,
    said: Audio,
    seed: int,
    side: Side,
    stop: threading.Event,
) -> Outcome:
    """Says samples (n,) over the path of this short name. Raises ValueError where no talk comes
    about, or as soon as ``stop`` is set (:class:`Interrupted`), OSError without namespaces."""
    seconds = len(said) / 16_000
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        np.save(folder / "said.npy", said)
        near, far = (stack.enter_context(_namespace(address)) for address in (NEAR, FAR))
        log = folder / "way.json"
        way = stack.enter_context(_forwarder(name, seconds, seed, (near, far), log, stop))
        surroundings = {
            **os.environ, "XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
            TOKEN_VARIABLE: secrets.token_hex(8), "NO_PROXY": "*", "no_proxy": "*",
        }  # fmt: skip
        url, place = "", far if side == "up" else near
        if contender.over_quic:
            certificate = own_certificate(folder, [place.address])
            surroundings[CA_VARIABLE] = str(certificate)
            url = stack.enter_context(_server(place, surroundings, stop, str(certificate)))
        elif contender.opus_ms is None:
            url = stack.enter_context(_server(place, surroundings, stop))
        mouth, ear = folder / "mouth.npz", folder / "ear.npz"
        listener = _start(far, contender.listener(url, FAR, str(ear)), surroundings, stop)
        stack.callback(listener.finish)
        words = contender.talker(url, FAR, str(folder / "said.npy"), str(mouth))
        talker = _start(near, words, surroundings, stop)
        stack.callback(talker.finish)
        for process in (talker, listener):
            process.wait_for("connected to" if url else "ready")
        begins = time.monotonic() + LEAD
        way.tell(repr(begins))
        talker.tell(repr(begins))
        if stop.wait(begins + seconds + TAIL - time.monotonic()):
            raise Interrupted(STOPPED)
        talker.finish()
        listener.finish()
        way.finish()
        return read(mouth, ear, log, seconds, talker.lines)


def read(mouth: Path, ear: Path, log: Path, seconds: float, lines: Sequence[str]) -> Outcome:
    """The outcome from what the processes left: files of mouth, ear and path, and the talker's
    lines. Raises ValueError where one left nothing."""
    for file in (mouth, ear):
        if not file.exists():
            raise ValueError(f"the {file.stem} left nothing")
    spoken, found = float(np.load(mouth)["began"]), np.load(ear)
    arrivals = np.array(found["arrivals"], float).reshape(-1, 2)[:, 0] - spoken
    heard = Heard(found["heard"], float(found["began"]) - spoken, arrivals)
    entries: list[Entry] = json.loads(log.read_text())
    sent = [(way, size) for at, _, way, size in entries if 0 <= at < seconds]
    there, back = (
        8e-3 * sum(size for way, size in sent if way == wanted) / seconds
        for wanted in (THERE, BACK)
    )
    told: dict[str, Any] = {}
    for line in lines:
        if line.startswith("{") and (said := json.loads(line)).get("type") == "summary":
            told = said
    return Outcome(heard, round(there, 2), round(back, 2), told)


def _start(
    place: Namespace,
    command: Sequence[str],
    environment: dict[str, str],
    stop: threading.Event,
) -> Watched:
    return Watched(
        place.start(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment, start_new_session=True,
        ),
        stop,
    )  # fmt: skip


@contextmanager
def _namespace(address: str) -> Iterator[Namespace]:
    place = Namespace(address)
    try:
        yield place
    finally:
        place.close()


@contextmanager
def _forwarder(
    name: str,
    seconds: float,
    seed: int,
    ends: tuple[Namespace, Namespace],
    log: Path,
    stop: threading.Event,
) -> Iterator[Watched]:
    near, far = (end.tun for end in ends)
    command = [
        sys.executable, "-m", "benchmarks.link.forward", "--path", name,
        "--seconds", str(seconds), "--seed", str(seed), "--near", str(near), "--far", str(far),
        "--log", str(log),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(near, far),
        start_new_session=True,
    )  # fmt: skip
    way = Watched(process, stop)
    try:
        way.wait_for("ready")
        yield way
    finally:
        way.finish()


@contextmanager
def _server(
    place: Namespace,
    environment: dict[str, str],
    stop: threading.Event,
    certificate: str | None = None,
) -> Iterator[str]:
    """The address of a server; over QUIC where it has a ``certificate``."""
    words = [
        "--host", place.address, "--port", "0", "--log-level", "warning", "--max-sessions", "4",
    ]  # fmt: skip
    if certificate is not None:
        words += ["--tls-cert", certificate, "--quic-port", "0"]
    process = place.start(
        [*CLI, "serve", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
        start_new_session=True,
    )  # fmt: skip
    server = Watched(process, stop)
    try:
        told = "serving at " if certificate is None else "and at "
        yield server.wait_for(told).split(told)[1].split()[0]
    finally:
        end(process)
