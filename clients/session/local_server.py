"""A server of one's own for the duration of a command, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from types import TracebackType

from clients.errors import ClientError
from clients.options import TOKEN_VARIABLE

START_TIMEOUT = 120.0
"""Loading a model on a busy machine takes a while; this only ends what would never start."""
STOP_TIMEOUT = 10.0
READY = "serving at "


def own_environment() -> dict[str, str]:
    """The environment for a server of one's own: the token there is for another server."""
    return {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}


class LocalServer:
    """``async with LocalServer() as server: ... server.url``. Options are those of
    ``facodec serve``; the port is a free one unless they name another."""

    def __init__(self, *options: str) -> None:
        self.url = ""
        self._options = options
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    async def __aenter__(self) -> LocalServer:
        serve = [sys.executable, "-m", "clients.cli", "serve", "--port", "0"]
        # A session of its own: Ctrl-C in the terminal is for the command, which then ends this.
        # The pipe ends with the command, even where that is killed, and the server with the pipe.
        self._process = await asyncio.create_subprocess_exec(
            *serve, "--until-eof", "--log-level", "warning", *self._options,
            stdin=PIPE, stdout=PIPE, start_new_session=True, env=own_environment(),
        )  # fmt: skip
        try:
            self.url = await asyncio.wait_for(self._wait_ready(), START_TIMEOUT)
        except asyncio.TimeoutError as error:
            await self.stop()
            raise ClientError(f"the server did not start within {START_TIMEOUT:g} s") from error
        except BaseException:
            await self.stop()
            raise
        self._reading = asyncio.create_task(self._ignore_output())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not go."""
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
            except asyncio.TimeoutError:
                process.kill()
                await process.wait()
        if self._reading is not None:
            await self._reading

    async def _wait_ready(self) -> str:
        process = self._process
        if process is None or process.stdout is None:
            raise RuntimeError("the server was not started")
        while line := (await process.stdout.readline()).decode("utf-8", "replace"):
            if line.startswith(READY):
                return line.removeprefix(READY).split()[0]
        await process.wait()
        raise ClientError(
            f"the server did not start (exit status {process.returncode}); see what it says above"
        )

    async def _ignore_output(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            while await self._process.stdout.readline():
                pass
