"""Attacks that take a server of their own: its end, its start, its publishers' network."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.attacks.checks import Check, share
from benchmarks.attacks.relay import Relay
from benchmarks.attacks.testbed import SESSIONS, SETTLE, TOKEN, Testbed, Undisturbed, testbed
from benchmarks.kit.processes import CLI, PATIENCE, end
from benchmarks.load import undisturbed
from streaming.server.settings import TOKEN_VARIABLE

Facts = tuple[list[Check], dict[str, float]]
ROOM = "kitchen"
BACK = 15.0
"""Seconds that a publisher may be away whose network was gone for a moment."""
SILENCE = 1.0
"""Seconds without sound that tell the publisher before from the one after."""
FOREIGN = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((constructor)) static void run(void) {
    FILE *mark = fopen(getenv("FACODEC_ATTACK_MARK"), "w");
    if (mark) fclose(mark);
}
"""
MARK = "FACODEC_ATTACK_MARK"


def closed_output(seconds: float, seed: int) -> Facts:
    """SIGTERM to a server whose standard output is closed: are its sessions told, and drained?"""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*CLI, "serve", "--port", "0", "--max-sessions", "10"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, TOKEN_VARIABLE: TOKEN},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[2]
            sessions = Undisturbed(url, TOKEN, 60.0, seed, Path(folder))
            try:
                sessions.wait_talking()
                time.sleep(SETTLE)
                process.stdout.close()
                process.send_signal(signal.SIGTERM)
                account = sessions.wait(60.0 + PATIENCE)
            finally:
                sessions.cut()
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    outcomes = account["outcomes"]
    return [share("sessions drained", outcomes.get("done", 0), SESSIONS)], dict(outcomes)


def ghost(seconds: float, seed: int) -> Facts:
    """``facodec publish --reconnect`` behind a network that goes deaf: how long its room is
    silent. ``seconds``: how long to wait for it."""
    with testbed(("--max-sessions", "10"), seconds, seed) as place, _long_file(seconds) as path:
        took = asyncio.run(_silence(place, path))
    back = took is not None
    figure = took if took is not None else seconds
    return [Check("the room is silent", figure, BACK, "s", beyond=not back)], {}


async def _silence(place: Testbed, path: Path) -> float | None:
    """Seconds from the deafness until the room is heard again; None: not in the testbed's time."""
    async with Relay(place.owner) as relay:
        publisher = await asyncio.create_subprocess_exec(
            *CLI, "publish", ROOM, "--reconnect", "--input", str(path), "--server", relay.url,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True, env={**os.environ, TOKEN_VARIABLE: TOKEN},
        )  # fmt: skip
        heard: list[float] = []
        listening = asyncio.ensure_future(_listen(place, heard))
        try:
            await _until(lambda: len(heard) > 80, PATIENCE)
            relay.go_deaf()
            deaf = time.monotonic()
            await _until(lambda: _after_silence(heard, deaf) is not None, place.seconds)
            again = _after_silence(heard, deaf)
            return None if again is None else again - deaf
        finally:
            listening.cancel()
            with contextlib.suppress(ProcessLookupError):
                publisher.kill()
            await publisher.wait()


async def _listen(place: Testbed, heard: list[float]) -> None:
    """Listens to the room for ever, coming back when it ends; ``heard``: when each packet came."""
    while True:
        wire = await place.enter(role="subscribe", room=ROOM)
        if wire is None:
            await asyncio.sleep(0.2)
            continue
        while (message := await wire.receive()) is not None:
            if message["type"] in ("audio", "codes"):
                heard.append(time.monotonic())
        wire.abort()


def _after_silence(heard: list[float], deaf: float) -> float | None:
    """Time of the first packet after a silence that began with the deafness or later."""
    times = [deaf, *(when for when in heard if when > deaf)]
    return next((b for a, b in itertools.pairwise(times) if b - a > SILENCE), None)


async def _until(true: Callable[[], bool], patience: float) -> None:
    until = time.monotonic() + patience
    while not true() and time.monotonic() < until:
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def _long_file(seconds: float) -> Iterator[Path]:
    """Speech for longer than the attack takes."""
    import soundfile

    from facodec.config import SAMPLE_RATE

    said = undisturbed.speech()
    times = int(2 * seconds * SAMPLE_RATE / len(said)) + 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "long.wav")
        soundfile.write(path, np.tile(said, times), SAMPLE_RATE)
        yield path


def broken_cache(seconds: float, seed: int) -> Facts:
    """Starts a server on a cache of compiled code that was broken, or holds what others put there:
    does it still compute with compiled code, and does it run theirs?"""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return [Check("starts with compiled code", None, 2, least=True)], {}
    with tempfile.TemporaryDirectory() as folder:
        cache, mark = Path(folder, "cache"), Path(folder, "mark")
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache), MARK: str(mark)}
        good = _backend(environment)
        libraries = sorted(cache.rglob("*.so"))
        for library in libraries:
            library.write_bytes(library.read_bytes()[:1000])
        mended = [_backend(environment) == good]
        foreign = _foreign_library(compiler, Path(folder))
        ran = 0
        for link in (False, True):
            for library in sorted(cache.rglob("*.so")):
                library.unlink()
                _plant(foreign, library, link)
            backend = _backend(environment)
            mended.append(backend == good)
            ran += mark.exists()
            mark.unlink(missing_ok=True)
    return [
        share("starts with compiled code", sum(mended), len(mended)),
        Check("starts that ran foreign code", ran, 0, "of 2"),
    ], {f"backend {good}": 1, "libraries": len(libraries)}


def _foreign_library(compiler: str, folder: Path) -> Path:
    source, library = folder / "foreign.c", folder / "foreign.so"
    source.write_text(FOREIGN)
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    return library


def _plant(foreign: Path, place: Path, link: bool) -> None:
    """Somebody else's library under a name that will be looked for: a file that all may write, or
    a link to one."""
    if link:
        place.symlink_to(foreign)
    else:
        shutil.copy(foreign, place)
        place.chmod(0o777)


def _backend(environment: dict[str, str]) -> str:
    """The backend that ``facodec serve`` reports; empty where it does not start."""
    process = subprocess.Popen(
        [*CLI, "serve", "--port", "0", "--max-sessions", "1"], text=True, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        return line.partition("(")[2].partition(",")[0]
    finally:
        end(process)
