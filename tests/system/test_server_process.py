"""The server's process: output that decides over nothing, a log that tells all, a careful start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from facodec.codec import Codec
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import Hello, Ready

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
SERVE = [sys.executable, "-m", "clients.cli", "serve", "--port", "0", "--max-sessions", "4"]


@contextlib.contextmanager
def serve(*options: str, **popen: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its URL, with pipes as standard output and error unless told otherwise."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
    process = subprocess.Popen([*SERVE, *options], cwd=ROOT, text=True, **pipes)
    try:
        assert process.stdout is not None
        found = re.search(r"wss?://\S+", process.stdout.readline())
        assert found, process.communicate()
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def refuses_to_start(*options: str, **environment: str) -> str:
    """Returns the message, with exit status 2 or 1."""
    done = subprocess.run(
        [*SERVE, *options], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode in (1, 2) and done.stdout == "" and "Traceback" not in done.stderr
    return done.stderr


async def ends_in_order(raw: Any, process: subprocess.Popen[str], url: str, number: int) -> Any:
    """A session that is open when the signal comes."""
    async with raw.connect(url) as socket:
        client = raw.client(socket)
        await client.send(Hello("encode"), *raw.audio(np.zeros(4000, np.float32)))
        await client.until(Ready)
        await client.settle()
        process.send_signal(number)
        return await client.rest()


@pytest.mark.parametrize(
    ("closed", "number"), [("stdout", signal.SIGTERM), ("both", signal.SIGHUP)]
)
def test_nobody_reading_its_output_drops_no_session(raw: Any, closed: str, number: int) -> None:
    # Where the tests run under nohup, SIGHUP would be ignored.
    with serve(preexec_fn=partial(signal.signal, number, signal.SIG_DFL)) as (process, url):
        for name in ("stdout", "stderr"):
            if closed in (name, "both"):
                getattr(process, name).close()
        heard = raw.run(ends_in_order(raw, process, url, number))
        assert (heard.done.reason, heard.close_code) == ("shutdown", 1001)
        assert heard.done.frames_in == 20
        assert process.wait(PATIENCE) == 0
        process.stdout = process.stderr = None


def test_a_reader_who_has_stopped_reading_holds_nothing_up(raw: Any) -> None:
    """As a terminal does that was halted with Ctrl-S."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, bytes(65536))
    os.set_blocking(write, True)
    with serve("--log-level", "debug", stderr=write) as (process, url):
        heard = raw.run(ends_in_order(raw, process, url, signal.SIGTERM))
        assert heard.done.reason == "shutdown"
        assert process.wait(PATIENCE) == 0
    os.close(write)
    os.close(read)


def test_descriptors_that_were_never_open(raw: Any, tmp_path: Path) -> None:
    """A socket that gets the number of standard output must not get what is printed."""
    script = f"exec {' '.join(SERVE)} --port {free_port()} <&- >&- 2>&-"
    process = subprocess.Popen(["sh", "-c", script], cwd=ROOT)
    url = f"ws://127.0.0.1:{script.partition('--max-sessions 4 --port ')[2].split()[0]}"

    async def until_open() -> Any:
        while True:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                return await ends_in_order(raw, process, url, signal.SIGTERM)
            assert process.poll() is None
            await asyncio.sleep(0.1)

    try:
        heard = raw.run(until_open())
        assert (heard.done.reason, heard.close_code) == ("shutdown", 1001)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_the_log_has_each_session_and_each_refusal(raw: Any) -> None:
    async def scenario(url: str) -> None:
        request = Hello("publish", room="kitchen", token="right")
        await raw.session(url, request, raw.audio(np.zeros(4000, np.float32)))
        await raw.session(url, Hello("encode", token="guess"))
        with pytest.raises(InvalidStatus):
            await raw.connect(url + "/?token=guess")
        with pytest.raises(InvalidStatus):
            await raw.connect(url, origin="http://evil.example")

    environment = {**os.environ, "FACODEC_TOKEN": "right"}
    with serve("--log-json", env=environment) as (process, url):
        raw.run(scenario(url))
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE)
    assert "right" not in errors and "guess" not in errors
    records = [json.loads(line) for line in errors.splitlines()]
    told: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        told.setdefault(record["message"], []).append(record)
    (started,) = told["session started"]
    (ended,) = told["session ended"]
    assert started["id"] == ended["id"] and started["role"] == ended["role"] == "publish"
    assert ended["room"] == "kitchen" and ended["address"] == "127.0.0.1"
    assert (ended["frames_in"], ended["why"]) == (20, "end")
    assert [record["why"] for record in told["session refused"]] == ["unauthorized"]
    assert [(record["status"], record["path"]) for record in told["request refused"]] == [
        (401, "/"), (403, "/"),
    ]  # fmt: skip
    assert told["serving"] and told["draining"] and told["stopped"]


def test_a_flood_of_refusals_is_a_few_lines(raw: Any) -> None:
    async def flood(url: str) -> None:
        for _ in range(300):
            with pytest.raises(InvalidStatus):
                await raw.connect(url, origin="http://evil.example")

    with serve() as (process, url):
        raw.run(flood(url))
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE)
    refused = [line for line in errors.splitlines() if "request refused" in line]
    assert 0 < len(refused) < 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "studio.lan"])
def test_other_machines_need_a_token_or_the_door_stands_open(host: str) -> None:
    said = refuses_to_start("--host", host, FACODEC_TOKEN="")
    assert "--token-file" in said and "--open" in said


def test_open_is_open(raw: Any) -> None:
    with serve("--host", "0.0.0.0", "--open") as (_, url):
        local = url.replace("0.0.0.0", "127.0.0.1")
        assert raw.run(raw.session(local, Hello("encode"))).close_code == 1000


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--token", "ключ-от-двери"), "expected a token of ASCII"),
        (("--allow-origin", "null"), "expected an origin like"),
        (("--trusted-proxy", "nginx"), "expected a trusted proxy"),
        (("--tls-key", "key.pem"), "--tls-cert"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(options: tuple[str, ...], says: str) -> None:
    said = refuses_to_start(*options)
    assert says in said and "ключ" not in said


def test_a_token_in_a_variable_is_checked_too() -> None:
    said = refuses_to_start(FACODEC_TOKEN="ключ от двери")
    assert "expected a token of ASCII" in said and "ключ" not in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"token_file": "/nowhere/tokens"}, "/nowhere/tokens"),
        ({"tls_cert": "/nowhere/cert.pem"}, "cannot read certificate /nowhere/cert.pem"),
        ({"tls_cert": __file__}, "cannot use certificate .*: expected a PEM file"),
        ({"tls_cert": "b\udcffd\n"}, r"cannot read certificate b\\xffd\\n: No such file"),
    ],
)
def test_files_that_cannot_be_used(untrained: Codec, options: dict[str, str], says: str) -> None:
    with pytest.raises((OSError, ValueError), match=says):
        Server(ServerSettings(port=0, **options), {"live": untrained})  # type: ignore[arg-type]


def test_tokens_are_seen_by_nobody(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("hush-hush\n")
    path.chmod(0o644)
    with serve("--token-file", str(path), "--token", "unwise") as (process, _):
        shown = subprocess.run(
            ["ps", "-o", "args=", "-p", str(process.pid)], capture_output=True, text=True
        ).stdout
        process.terminate()
        out, errors = process.communicate(timeout=PATIENCE)
    assert "hush-hush" not in shown + out + errors
    assert "unwise" not in out + errors
    assert "chmod 600" in errors and "--token shows the token" in errors


FREES = """
import numpy as np
from streaming.server.process import bound_malloc

def resident():
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * 4096

bound_malloc()
np.ones(8 << 20, np.uint8)  # freed at once: after that glibc takes pieces like it from its heap
large, between = [], []
for _ in range(16):
    large.append(np.ones(3 << 20, np.uint8))
    between.append(bytes(100_000))
before = resident()
del large
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_large_pieces_of_memory_go_back_to_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 40 << 20
