"""A real server, live sessions beside the attack, and what is seen of all of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.attacks.wire import OWNER, RefusedError, Target, Wire, get
from benchmarks.kit.processes import RunningServer, running_server, standing_back
from benchmarks.load import undisturbed
from streaming.server.settings import TOKEN_VARIABLE

TOKEN = "the-owner's"
SESSIONS = 4
"""Live sessions beside every attack."""
SETTLE = 1.5
"""Seconds that they talk before the attack."""
LOOK = 0.1
"""Seconds between two looks at the server's memory."""
GRACE = 12.0
"""Seconds that a process has to tell its account after it was told to stop."""


class Undisturbed:
    """The live sessions: a process of their own and, when it has ended, their account."""

    def __init__(self, url: str, token: str | None, seconds: float, seed: int, out: Path) -> None:
        self.out = out
        out.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "benchmarks.load.undisturbed", "--url", url, "--sessions",
                str(SESSIONS), "--seconds", str(seconds), "--seed", str(seed), "--out", str(out),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env=_environment(token),
        )  # fmt: skip

    def wait_talking(self) -> None:
        """Returns when all of them talk. Raises ValueError where they do not."""
        assert self._process.stdout is not None
        for _ in range(SESSIONS):
            if self._process.stdout.readline().strip() != undisturbed.TALKING:
                self.cut()
                raise ValueError("the undisturbed sessions did not get in")

    def account(self) -> dict[str, Any]:
        """Ends them: frames ``sent``, ``received``, ``lost``, ``misnumbered``, and ``outcomes``."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait(undisturbed_patience())

    def wait(self, patience: float) -> dict[str, Any]:
        """Their account once they have ended by themselves. Raises ValueError for none."""
        try:
            _, errors = self._process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.cut()
            raise ValueError("the undisturbed sessions do not end") from None
        if self._process.returncode:
            last = (errors.strip().splitlines() or ["they said nothing"])[-1]
            raise ValueError(f"the undisturbed sessions failed: {last}")
        account = json.loads((self.out / undisturbed.ACCOUNT).read_text())
        names = ("sent", "received", "lost", "misnumbered", "miscounted", "outcomes")
        return {name: account[name] for name in names}

    def lags(self) -> np.ndarray:
        """(n, 2): when a frame was due to be sent (monotonic, s), and s until it was back."""
        found: np.ndarray = np.load(self.out / undisturbed.LAGS)
        return found

    def cut(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def undisturbed_patience() -> float:
    """Seconds that the sessions may take to end: longer than they themselves wait for the rest."""
    from benchmarks.load.generator import FINISH_TIMEOUT

    return FINISH_TIMEOUT + GRACE


class Attackers:
    """Attacking clients in a process of their own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def counts(self, patience: float) -> dict[str, float]:
        """Returns the attackers' counts, once they have ended; empty where they do not within
        patience."""
        try:
            told, _ = await asyncio.wait_for(self._process.communicate(), patience)
            return dict(json.loads(told))
        except (asyncio.TimeoutError, ValueError):
            await self.kill()
            return {}

    async def stop(self) -> dict[str, float]:
        """Tells them to stop; what they counted."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        return await self.counts(GRACE)

    async def kill(self) -> None:
        """SIGKILL: they cannot say goodbye."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@dataclass
class Testbed:
    """Means of an attack. ``seconds``: how long each is to take. ``memory``: (monotonic s, resident
    MiB) of the server over time."""

    server: RunningServer
    seconds: float
    seed: int
    token: str | None
    memory: list[tuple[float, float]] = field(default_factory=list)
    _started: list[Attackers] = field(default_factory=list)

    @property
    def owner(self) -> Target:
        """The server, for one who knows the token."""
        return Target.of(self.server.url, address=OWNER, token=self.token)

    @property
    def anybody(self) -> Target:
        """The server, for one who does not."""
        return Target.of(self.server.url, address=OWNER)

    async def start(
        self, name: str, clients: int, *, word: str = "", trusted: bool = True,
        seconds: float | None = None, together: bool = False,
    ) -> Attackers:  # fmt: skip
        """Attackers of a kind; ``trusted`` ones know the token, and those that come ``together``
        have one address."""
        words = ["--clients", str(clients), "--seconds", str(seconds or self.seconds)]
        words += ["--word", word] if word else []
        words += ["--together"] if together else []
        process = await asyncio.create_subprocess_exec(
            *standing_back(sys.executable, "-m", "benchmarks.attacks.attacker", name),
            "--url", self.server.url, "--seed", str(self.seed), *words,
            stdout=asyncio.subprocess.PIPE, start_new_session=True,
            env=_environment(self.token if trusted else None),
        )  # fmt: skip
        self._started.append(Attackers(process))
        return self._started[-1]

    async def attack(self, name: str, clients: int, **how: Any) -> dict[str, float]:
        """Attackers of a kind until their time is over: what they counted."""
        attackers = await self.start(name, clients, **how)
        return await attackers.counts((how.get("seconds") or self.seconds) + GRACE)

    async def owner_tries(self, tries: int = 30, **hello: Any) -> int:
        """Number of the owner's tries that get in, of so many spread over the attack's time."""
        welcome = 0
        gap = self.seconds / tries
        await asyncio.sleep(min(1.5, self.seconds / 4))  # until the attackers are there
        began = time.monotonic()
        for number in range(tries):
            welcome += await self.gets_in(**hello)
            await asyncio.sleep(max(0.0, began + (number + 1) * gap * 0.75 - time.monotonic()))
        return welcome

    async def gets_in(self, **hello: Any) -> bool:
        """Whether the owner's hello is answered with ``ready`` within two seconds."""
        wire = await self.enter(**hello)
        if wire is None:
            return False
        wire.write({"type": "end"})
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(wire.finish(), 1.0)
        return True

    async def enter(self, address: str = OWNER, **hello: Any) -> Wire | None:
        """A session of the owner's, None where he is not let in within two seconds."""
        wire: Wire | None = None
        try:
            wire = await asyncio.wait_for(Wire.open(self.owner.coming_from(address)), 2.0)
            wire.write({"type": "hello", "version": 1, "role": "loopback", **hello})
            answer = await asyncio.wait_for(wire.receive(), 2.0)
        except (RefusedError, OSError, asyncio.TimeoutError):
            answer = None
        if answer is not None and answer["type"] == "ready":
            return wire
        if wire is not None:
            wire.abort()
        return None

    async def comes_back(self, seconds: float) -> bool:
        """Whether a session of the owner's that breaks is found again so many seconds later."""
        hello = {"type": "hello", "version": 1, "role": "loopback", "replay": "newest"}
        try:
            ready = await self._hear(hello, {"type": "audio", "seq": 0, "data": bytes(16_000)})
            await asyncio.sleep(seconds)
            again = await self._hear({**hello, "resume": ready.get("resume"), "received": 0})
        except (RefusedError, OSError, asyncio.TimeoutError):
            return False
        return "received" in again

    async def _hear(self, *messages: dict[str, Any]) -> dict[str, Any]:
        """The first answer to messages over a connection of the owner's, which is cut off then."""
        wire = await asyncio.wait_for(Wire.open(self.owner), 2.0)
        try:
            for message in messages:
                wire.write(message)
            return await asyncio.wait_for(wire.receive(), 2.0) or {}
        finally:
            wire.abort()

    async def health(self) -> dict[str, Any]:
        """The owner's answer from /healthz; empty where it does not answer."""
        status, body = await get(self.owner, "/healthz")
        try:
            return dict(json.loads(body)) if status else {}
        except ValueError:
            return {}

    async def watch_memory(self) -> None:
        """Looks at the server's memory again and again."""
        while (used := self.server.usage()) is not None:
            self.memory.append((time.monotonic(), used.memory))
            await asyncio.sleep(LOOK)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watches the memory meanwhile; kills the attackers that are left at the end."""
        watching = asyncio.ensure_future(self.watch_memory())
        try:
            yield
        finally:
            watching.cancel()
            for attackers in self._started:
                await attackers.kill()


@contextmanager
def testbed(
    options: tuple[str, ...], seconds: float, seed: int, token: str | None = TOKEN
) -> Iterator[Testbed]:
    """A server of one's own with these options of ``facodec serve``, which knows the token."""
    with running_server(*options, environment={TOKEN_VARIABLE: token or ""}) as server:
        yield Testbed(server, seconds, seed, token)


@contextmanager
def live_sessions(testbed: Testbed, seconds: float) -> Iterator[Undisturbed]:
    """The undisturbed sessions, which have talked for a while when this is entered."""
    with tempfile.TemporaryDirectory() as folder:
        sessions = Undisturbed(
            testbed.server.url, testbed.token, seconds, testbed.seed, Path(folder, "undisturbed")
        )
        try:
            sessions.wait_talking()
            time.sleep(SETTLE)
            yield sessions
        finally:
            sessions.cut()


def _environment(token: str | None) -> dict[str, str]:
    return {**os.environ, TOKEN_VARIABLE: token or ""}
