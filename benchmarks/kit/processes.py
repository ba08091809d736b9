"""Processes under measurement: a server of one's own, and what the system knows of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from clients.library.certificates import client_context
from clients.options import CA_VARIABLE, TOKEN_VARIABLE
from clients.session.local_server import own_environment

PATIENCE = 15.0
"""Seconds a process has to end by itself before it is killed."""
CLI = (sys.executable, "-m", "clients.cli")


@dataclass(frozen=True)
class Usage:
    """Use of the machine by a process: CPU seconds since it started; resident MiB and threads
    now."""

    cpu: float
    memory: float
    threads: int


@dataclass(frozen=True)
class RunningServer:
    """A server to measure. ``pid`` is None where somebody else started it; ``ready``: seconds it
    took from the start of its process to the line that says where it serves."""

    url: str
    pid: int | None = None
    ready: float | None = None

    def usage(self) -> Usage | None:
        """None where the system does not tell, or the process is not ours."""
        return None if self.pid is None else usage(self.pid)

    def health(self) -> dict[str, Any]:
        """Returns the answer of /healthz. Raises OSError where nothing does."""
        answer: dict[str, Any] = json.loads(self.get("/healthz"))
        return answer

    def get(self, path: str) -> str:
        """Body of a plain HTTP request."""
        token = os.environ.get(TOKEN_VARIABLE) if self.pid is None else None
        request = Request(self.url.replace("ws", "http", 1) + path)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        tls = client_context(request.full_url, os.environ.get(CA_VARIABLE))
        # Our servers are on this machine, whatever proxy the environment names.
        direct = build_opener(ProxyHandler({}), HTTPSHandler(context=tls))
        with direct.open(request, timeout=PATIENCE) as answer:
            return str(answer.read().decode())


@contextmanager
def running_server(
    *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """A server process on a free port, with the options of ``facodec serve``. ``environment``:
    variables it gets besides ours.

    It has a process group of its own, so that Ctrl-C reaches the benchmark alone. Raises ValueError
    with what the server said where it does not start."""
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [*CLI, "serve", "--port", "0", "--log-level", "warning", *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**own_environment(), **(environment or {})},
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith("serving at "):
                process.wait(PATIENCE)
                errors.seek(0)
                reason = errors.read().strip() or line.strip() or "it said nothing"
                raise ValueError(f"the server did not start: {reason.splitlines()[-1]}")
            yield RunningServer(line.split()[2], process.pid, time.perf_counter() - began)
        finally:
            end(process)


NICENESS = 10
"""An attacker's computing is his machine's: here it stands back behind the server's."""


def standing_back(*command: str) -> list[str]:
    """The command at a lower priority from its start on: what a Python process imports takes a
    second of a core."""
    nice = shutil.which("nice")
    return [*command] if nice is None else [nice, "-n", str(NICENESS), *command]


def end(process: subprocess.Popen[str]) -> None:
    """Ends a process: asks it first, kills it after :data:`PATIENCE`."""
    process.terminate()
    try:
        process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def busy() -> float | None:
    """CPU seconds that all programs of this machine have used, and what a hypervisor kept back;
    None where the system does not tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, soft, stolen = map(int, fields)
    return (user + nice + system + irq + soft + stolen) / os.sysconf("SC_CLK_TCK")


def usage(pid: int) -> Usage | None:
    """Linux only: None elsewhere, and for a process that has gone."""
    folder = Path("/proc") / str(pid)
    try:
        # The second field, the command in parentheses, may hold spaces.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        status = dict(
            line.split(":", 1)
            for line in (folder / "status").read_text().splitlines()
            if ":" in line
        )
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    user, system = int(fields[11]), int(fields[12])
    resident = int(status.get("VmRSS", "0 kB").split()[0])
    return Usage((user + system) / ticks, resident / 1024, int(status["Threads"]))
