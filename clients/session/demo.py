"""A first taste: a server of our own, a sample or the microphone, and the ledger."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from clients.audio.devices import choose, list_devices
from clients.audio.files import keep_apart, need_sound_output
from clients.errors import ClientError
from clients.offline.voicebook import BUNDLED
from clients.session.browsing import can_show_here, show_until_enter
from clients.session.live_options import LiveOptions
from clients.session.local_server import LocalServer
from clients.session.run import LiveRun
from clients.session.status import Reporter
from clients.session.talk import interruptible
from facodec.reasons import shown

NEXT = """\
Listen to {output}, then try
  {facodec} serve                 and open http://127.0.0.1:8765 in a browser to talk there
  {facodec} talk --serve          your own voice, live{microphone}
  {facodec} convert --voice rms --serve --input {sample} --output rms.wav
  {facodec} talk --help"""
OPEN = "The page opens in your browser: {page}\nEnter ends it."


def demo(output: Path, *, model: str | None, microphone: bool, browser: bool) -> int:
    """Sample (or microphone) -> server -> ``output``. ``browser``: then shows the page, as long as
    the user wants, where that can be seen. Raises ClientError."""
    keep_apart([output], [] if microphone else [BUNDLED["slt"]])
    need_sound_output(output)
    asyncio.run(_demo(output, model, microphone, browser))
    return 0


async def _demo(output: Path, model: str | None, microphone: bool, browser: bool) -> None:
    reporter = Reporter()
    reporter.say("starting a server with the bundled model" if model is None else
                 f"starting a server with {model}")  # fmt: skip
    async with LocalServer(*(("--model", model) if model is not None else ())) as server:
        options = LiveOptions(
            url=server.url,
            role="loopback",
            input=None if microphone else BUNDLED["slt"],
            output=output,
        )
        run = LiveRun(options, reporter, None)
        await interruptible(run)
        hints = {"sample": _short(BUNDLED["slt"]), "facodec": _command()}
        print(NEXT.format(output=shown(output), microphone=_microphone(), **hints), flush=True)
        if browser and not run.stopped.is_set() and can_show_here():
            page = f"{server.url.replace('ws', 'http', 1)}/"
            print(f"\n{OPEN.format(page=page)}", flush=True)
            await show_until_enter(page)


def _command() -> str:
    """Words that call this program from here: it may lie in an environment that is not active."""
    return "facodec" if shutil.which("facodec") else str(_short(Path(sys.argv[0])))


def _short(path: Path) -> Path:
    """Relative to the current folder where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _microphone() -> str:
    """Name of the microphone that there is."""
    try:
        found = choose(list_devices(), None, "input")
    except ClientError:
        return " (no microphone found here)"
    return f" (microphone found: {found.name})"
