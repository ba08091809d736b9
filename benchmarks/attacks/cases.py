"""The attacks: for each what it does, the server it is made on, and what is measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.attacks import alone, requests
from benchmarks.attacks.checks import GROWTH_MIB, Check, of_tries, share
from benchmarks.attacks.testbed import TOKEN, Testbed
from benchmarks.attacks.wire import OWNER, Wire
from streaming.server.parking import MOST_PARKED

Counts = dict[str, float]
Facts = tuple[list[Check], Counts]
Beside = Callable[[Testbed], Awaitable[Facts]]
TRIES = 30
ROOM = "kitchen"
HELLO_TIMEOUT = 5.0
"""Seconds a server gives a client for its hello, unless it was told otherwise."""
OUTBOX = 2.0
DROPPED = OUTBOX + 4.0
"""Seconds until a listener that reads nothing is given up: its outbox, as much again in the buffers
on the way, and two to start it."""
RETURNS = 5
"""Times that the owner's session breaks, and he comes back."""
GUESSES = 20.0
"""Token guesses a second from one address."""
FREE = 1.5
"""Seconds until the places of clients that are dead are free."""


@dataclass(frozen=True)
class Attack:
    """``beside``: the attack, made beside undisturbed sessions on a server with these options;
    ``alone``: one that takes a server of its own, and its seconds. Each gives its checks and what
    the attackers counted. ``growth``: MiB that the server may grow by."""

    name: str
    summary: str
    options: tuple[str, ...] = ()
    beside: Beside | None = None
    alone: Callable[[float, int], Facts] | None = None
    token: str | None = TOKEN
    growth: float = GROWTH_MIB
    takes: float = 1.0
    """Times the seconds that others take."""


def _held(out: str, **how: Any) -> Beside:
    """Attackers beside whom nothing but lag, memory and frames is looked at."""

    async def beside(testbed: Testbed) -> Facts:
        return [], await testbed.attack(out, **how)

    return beside


async def nothing(testbed: Testbed) -> Facts:
    await asyncio.sleep(testbed.seconds)
    return [], {}


def _keep_out(name: str, clients: int, deadline: bool, word: str = "") -> Beside:
    """Strangers that want to keep the owner out."""

    async def beside(testbed: Testbed) -> Facts:
        seconds = max(testbed.seconds, HELLO_TIMEOUT + 3.0) if deadline else testbed.seconds
        attackers = await testbed.start(name, clients, trusted=False, seconds=seconds, word=word)
        welcome = await testbed.owner_tries(TRIES)
        counts = await attackers.counts(seconds + 10)
        checks = [of_tries("the owner gets in", welcome, TRIES)]
        if deadline:
            kept = counts.get("longest_ms", 0.0) / 1e3
            open_still = kept > seconds - 1.0
            checks.append(
                Check("a slot without hello", kept, HELLO_TIMEOUT + 1.0, "s", beyond=open_still)
            )
        return checks, counts

    return beside


def _wait_for_publisher(clients: int, word: str, room: str) -> Beside:
    """Listeners that wait while somebody wants to publish."""

    async def beside(testbed: Testbed) -> Facts:
        attackers = await testbed.start("wait-in-rooms", clients, word=word)
        welcome = await testbed.owner_tries(10, role="publish", room=room)
        return [of_tries("the publisher gets in", welcome, 10)], await attackers.counts(20)

    return beside


async def fill_room(testbed: Testbed) -> Facts:
    """A publisher and as many listeners as a room may have."""
    publisher = await testbed.start("publish", 1, word=ROOM)
    await asyncio.sleep(1.0)
    counts = await testbed.attack("fill-room", 64, word=ROOM, seconds=testbed.seconds - 1.0)
    await publisher.kill()
    return [share("listeners in one room", int(counts.get("listening", 0)), 64)], counts


def _to_many(word: str) -> Beside:
    """A publisher in haste, and as many listeners as a room may have."""

    async def beside(testbed: Testbed) -> Facts:
        publisher = await testbed.start("hasty-publisher", 1, word=word)
        await asyncio.sleep(0.5)
        counts = await testbed.attack("fill-room", 64, word=word, seconds=testbed.seconds - 1.0)
        return [], {**counts, **await publisher.counts(20)}

    return beside


async def dead_flooders(testbed: Testbed) -> Facts:
    """Clients that flood all free places, and are killed."""
    attackers = await testbed.start("flood-unread", 6)
    await asyncio.sleep(testbed.seconds / 2)
    await attackers.kill()
    killed = time.monotonic()
    held: list[Wire] = []
    limit = 2 * testbed.seconds
    while len(held) < 6 and time.monotonic() - killed < limit:
        wire = await testbed.enter(address=f"{OWNER}{len(held)}")
        if wire is not None:
            held.append(wire)
        else:
            await asyncio.sleep(0.05)
    took = time.monotonic() - killed
    for wire in held:
        wire.abort()
    return [Check("places held by the dead", took, FREE, "s", beyond=len(held) < 6)], {}


async def deaf_listener(testbed: Testbed) -> Facts:
    """A listener that reads nothing of a room."""
    publisher = await testbed.start("publish", 1, word=ROOM, seconds=testbed.seconds + 2.0)
    await asyncio.sleep(1.0)
    listener = await testbed.start("deaf-listener", 1, word=ROOM, seconds=testbed.seconds + 1.0)
    began = time.monotonic()
    took, dropped = 0.0, False
    while took < testbed.seconds and not dropped:
        await asyncio.sleep(0.1)
        took = time.monotonic() - began
        errors = (await testbed.health()).get("metrics", {}).get("errors_total", {})
        dropped = errors.get("too-slow", 0) > 0
    counts = await listener.counts(20)
    await publisher.stop()
    return [Check("until it is dropped", took, DROPPED, "s", beyond=not dropped)], counts


async def one_address(testbed: Testbed) -> Facts:
    """One address that opens as many sessions as it can."""
    attackers = await testbed.start("many-sessions", 64, together=True)
    welcome = await testbed.owner_tries(TRIES)
    counts = await attackers.counts(20)
    return [of_tries("the owner gets in", welcome, TRIES)], counts


async def break_off(testbed: Testbed) -> Facts:
    """Sessions that are opened to be broken off, while the owner's own breaks and he comes back."""
    attackers = await testbed.start("break-off", 8)
    await asyncio.sleep(1.0)
    back, parked = 0, 0
    for _ in range(RETURNS):
        back += await testbed.comes_back(testbed.seconds / RETURNS / 2)
        parked = max(parked, (await testbed.health()).get("parked", 0))
    counts = await attackers.counts(20)
    return [
        share("the owner comes back", back, RETURNS),
        Check("parked sessions", parked, MOST_PARKED),
    ], counts


async def guess_tokens(testbed: Testbed) -> Facts:
    """Tokens tried in a row from one address, while the owner comes from another."""
    attackers = await testbed.start("guess-tokens", 8, trusted=False, together=True)
    welcome = await testbed.owner_tries(TRIES)
    counts = await attackers.counts(20)
    rate = counts.get("answered", 0.0) / testbed.seconds
    return [
        Check("guesses answered", rate, GUESSES, "a second"),
        of_tries("the owner gets in", welcome, TRIES),
    ], counts


PINGED_MIB = 4.0
"""Bound on the unread answers to one client's pings: the system's buffers."""
SMALL = ("--max-sessions", "10")
"""Six places beside the four undisturbed sessions."""
LARGE = ("--max-sessions", "28")

ATTACKS: Sequence[Attack] = (
    Attack("none", "nobody attacks", SMALL, nothing),
    Attack("clock-before-hello", "6 clients without a token ask for the time, never say hello",
           SMALL, _keep_out("clock-before-hello", 6, True)),
    Attack("reconnect", "12 sockets without a token connect again and again",
           SMALL, _keep_out("reconnect", 12, False)),
    Attack("waiting-listeners", "9 listeners wait in the room that a publisher wants",
           SMALL, _wait_for_publisher(9, ROOM, ROOM)),
    Attack("waiting-names", "16 listeners wait in as many rooms of 16",
           (*LARGE, "--max-rooms", "16"), _wait_for_publisher(16, "room-#", ROOM)),
    Attack("full-room", "64 listeners in one room of a server for 10 sessions", SMALL, fill_room),
    Attack("hasty-codes", "a publisher sends codes faster than real time to 64 listeners", SMALL,
           _to_many("codes")),
    Attack("hasty-voices", "a publisher sends voices as fast as it can to 64 listeners", SMALL,
           _to_many("voice")),
    Attack("unread-pings", "4 clients without a token send pings, read no answer", SMALL,
           _held("unread-pings", clients=4, trusted=False), growth=4 * PINGED_MIB),
    Attack("tiny-clock", "4 clients send clock as fast as they can", SMALL,
           _held("tiny-messages", clients=4, word="clock")),
    Attack("tiny-audio", "4 clients send audio without samples as fast as they can", SMALL,
           _held("tiny-messages", clients=4, word="audio")),
    Attack("tiny-list", "4 clients send lists of 120,000 numbers as fast as they can", SMALL,
           _held("tiny-messages", clients=4, word="list")),
    Attack("faster", "16 sessions send faster than real time", LARGE,
           _held("faster-than-real-time", clients=16)),
    Attack("enroll", "2 clients enrol 60 s of sound, over and over", SMALL,
           _held("enroll", clients=2)),
    Attack("dead-flooders", "6 clients flood, read nothing, and are killed", SMALL, dead_flooders),
    Attack("deaf-listener", f"a listener with an outbox of {OUTBOX:g} s reads nothing",
           (*SMALL, "--outbox", f"{OUTBOX:g}"), deaf_listener),
    Attack("foreign-page", "pages of other origins, and a foreign Host", SMALL,
           requests.foreign_pages, token=None),
    Attack("one-address", "64 sessions wanted from one address, of 28",
           (*LARGE, "--address-sessions", "14"), one_address),
    Attack("break-off", "8 clients open sessions and break them off, over and over",
           LARGE, break_off),
    Attack("guess-tokens", "8 connections guess tokens as fast as they are answered", SMALL,
           guess_tokens),
    Attack("malformed", "requests that are none, or half, or twice", SMALL, requests.malformed),
    Attack("slowloris", "300 connections send their request byte by byte", SMALL,
           _keep_out("slowloris", 300, False)),
    Attack("silent", "1,500 connections that send nothing", SMALL,
           _keep_out("unfinished", 1500, False, "nothing")),
    Attack("long-requests", "400 connections send a request of a megabyte without an end", SMALL,
           _keep_out("unfinished", 400, False, "request")),
    Attack("unfinished-messages", "256 clients without a token send a first message of 200 KB "
           "without an end", SMALL, _keep_out("unfinished", 256, False, "message")),
    Attack("garbage", "6 clients send frames and messages that are none", SMALL,
           _held("garbage-frames", clients=6)),
    Attack("closed-output", "SIGTERM when nobody reads the server's output any more",
           alone=alone.closed_output),
    Attack("ghost", "a publisher's network goes deaf, and he comes back", alone=alone.ghost,
           takes=8.0),
    Attack("broken-cache", "libraries in the cache that are broken, or somebody else's",
           alone=alone.broken_cache),
)  # fmt: skip
BY_NAME = {attack.name: attack for attack in ATTACKS}
