"""Keys of a live command at a terminal: they work its controls."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from clients.session.controls import HELP, KEYS, Choice, Controls
from clients.session.keyboard import Keyboard

HINT = "keys change voice, pitch, loudness: ? shows them"
NO_OTHERS = "no other voice is known here"


@asynccontextmanager
async def keys(
    controls: Controls, offers: Callable[[], Awaitable[list[Choice]]], say: Callable[[str], None]
) -> AsyncIterator[bool]:
    """While this is entered keys at the terminal work the controls; nothing happens where standard
    input is none. ``offers``: gets the voices to choose from. Gives whether there are keys."""

    early: list[str] = []

    def press(key: str) -> None:
        if key == "?":
            say(HELP)
        elif KEYS.get(key) not in ("next", "previous") or controls.has_others:
            controls.press(key)
        elif not offering.done():
            early.append(key)
        else:
            say(NO_OTHERS)

    async def offer() -> None:
        controls.offer(await offers())
        for key in early:
            controls.press(key)

    keyboard = Keyboard(sys.stdin, press)
    if not keyboard.is_there:
        yield False
        return
    say(HINT)
    offering = asyncio.create_task(offer())
    with keyboard:
        try:
            yield True
        finally:
            offering.cancel()
            await asyncio.gather(offering, return_exceptions=True)
