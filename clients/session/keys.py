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

    def press(key: str) -> None:
        if key == "?":
            say(HELP)
        elif KEYS.get(key) in ("next", "previous") and not controls.has_others:
            say(NO_OTHERS)
        else:
            controls.press(key)

    async def offer() -> None:
        controls.offer(await offers())

    keyboard = Keyboard(sys.stdin, press)
    if not keyboard.is_there:
        yield False
        return
    say(HINT)
    with keyboard:
        offering = asyncio.create_task(offer())
        try:
            yield True
        finally:
            offering.cancel()
            await asyncio.gather(offering, return_exceptions=True)
