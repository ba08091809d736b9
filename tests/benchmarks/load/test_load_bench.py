"""The load generator accounts for every frame of real sessions; the ramp finds the edge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.kit.processes import RunningServer
from benchmarks.kit.subjects import speech
from benchmarks.load.generator import generate, in_pairs
from benchmarks.load.session import Load, Media, Tally, times_from_json
from benchmarks.parts import load
from benchmarks.registry import parse
from clients.cli import main
from facodec.codec import Codec
from facodec.config import HOP
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import Audio, Codes, Hello

PATIENCE = 60.0
WHAT = {
    "model": "live", "threads": 1, "device": "cpu", "frames_per_packet": 1, "own_server": True,
}  # fmt: skip


def on_server(
    codec: Codec, work: Callable[[str], Awaitable[Tally]], **settings: Any
) -> tuple[Tally, dict[str, Any]]:
    """Tally of the generator for a server in this process, and the server's own counters."""

    async def scenario() -> tuple[Tally, dict[str, Any]]:
        async with Server(ServerSettings(port=0, **settings), {"live": codec}) as server:
            tally = await asyncio.wait_for(work(server.url), PATIENCE)
            return tally, server.health()["metrics"]

    return asyncio.run(scenario())


def talk(seconds: float = 0.4, sessions: int = 2, **options: Any) -> Callable[[str], Any]:
    hello = options.pop("hello", Hello("loopback", pcm="s16"))

    async def work(url: str) -> Tally:
        chosen = Load(url, sessions, seconds, hello, settle=0.0, **options)
        return await generate(chosen, speech(), asyncio.Event())

    return work


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(
    ("input", "output"), [("pcm", "pcm"), ("codes", "codes")], ids=["sound", "codes"]
)
def test_every_frame_is_accounted_for(
    untrained: Codec, frames: int, input: Any, output: Any
) -> None:
    hello = Hello("loopback", input, output, pcm="s16", frames_per_packet=frames)
    tally, counters = on_server(untrained, talk(hello=hello))
    packets = len(tally.late)
    assert packets > 0 and tally.sent == packets * frames
    assert (tally.sent, tally.lost, tally.miscounted, tally.misnumbered) == (
        tally.received,
        0,
        0,
        0,
    )
    assert counters["frames_in_total"] == counters["frames_out_total"] == tally.sent
    assert tally.outcomes == {"done": 2}
    assert len(tally.turnaround) == len(tally.server) > 0
    assert min(tally.turnaround) > 0 and min(tally.server) >= 0
    assert tally.payload["messages_up"] == packets + 2 * 2  # hello and end of two sessions


def test_pairs_pass_codes_through_rooms(untrained: Codec) -> None:
    async def work(url: str) -> Tally:
        chosen = Load(url, 6, 0.4, Hello("loopback"), settle=0.0)
        return await generate(chosen, speech(), asyncio.Event(), in_pairs(chosen, speech()))

    tally, counters = on_server(untrained, work, max_sessions=8)
    assert tally.outcomes == {"done": 6}
    assert tally.sent == tally.received == counters["frames_in_total"] == 3 * 32
    assert (tally.lost, tally.miscounted, tally.misnumbered) == (0, 0, 0)
    assert len(tally.delivery) == tally.sent and 0 < min(tally.delivery) < 1
    assert tally.cpu > 0
    assert tally.payload["down"] / tally.received < 40  # codes, and never sound


def test_sessions_send_one_packet_a_period(untrained: Codec) -> None:
    tally, _ = on_server(untrained, talk(seconds=0.5, sessions=1))
    assert tally.sent == 40  # however late each of them was


def test_idle_sessions_send_nothing_and_end_well(untrained: Codec) -> None:
    tally, _ = on_server(untrained, talk(send=False, sessions=3))
    assert (tally.sent, tally.received, tally.outcomes) == (0, 0, {"done": 3})


def test_without_stamps_nothing_is_timed(untrained: Codec) -> None:
    tally, _ = on_server(untrained, talk(stamped=False))
    assert tally.sent == tally.received > 0 and not tally.turnaround


def test_a_full_server_refuses_and_the_others_go_on(untrained: Codec) -> None:
    tally, _ = on_server(untrained, talk(sessions=3), max_sessions=2)
    assert tally.outcomes == {"done": 2, "error overloaded": 1}
    assert tally.lost == 0


def test_a_server_that_refuses_a_session_is_named(untrained: Codec) -> None:
    tally, _ = on_server(untrained, talk(sessions=1, hello=Hello("loopback", model="none")))
    assert tally.outcomes == {"error unknown-model": 1}


def test_nobody_there_is_an_outcome_too() -> None:
    tally = asyncio.run(talk(sessions=2)("ws://127.0.0.1:9"))
    assert tally.outcomes == {"no connection": 2}


def test_being_told_to_stop_ends_sessions_well(untrained: Codec) -> None:
    async def work(url: str) -> Tally:
        stopped = asyncio.Event()
        chosen = Load(url, 2, 3600.0, Hello("loopback", pcm="s16"), settle=0.0)
        generating = asyncio.ensure_future(generate(chosen, speech(), stopped))
        asyncio.get_running_loop().call_later(0.3, stopped.set)
        return await generating

    tally, _ = on_server(untrained, work)
    assert tally.outcomes == {"done": 2} and tally.lost == 0 and tally.sent > 0


def test_media_follow_on(untrained: Codec) -> None:
    sound = Media(Hello("loopback", pcm="s16", frames_per_packet=2), speech(), seed=3)
    first, later = sound.packet(0, None), sound.packet(2, 1.5)
    assert isinstance(first, Audio) and len(first.data) == 2 * 2 * HOP and first.data != later.data
    assert sound.frames(first.data) == 2 and later.t == 1.5 and later.seq == 2
    codes = Media(Hello("loopback", "codes", "codes"), speech(), seed=3).packet(7, None)
    assert isinstance(codes, Codes) and (codes.seq, codes.n, len(codes.data)) == (7, 1, 8)


def test_accounts_of_several_generators_are_one() -> None:
    tallies = []
    for offset in (0, 1):
        tally = Tally(sent=10, received=9 + offset, lost=1 - offset, worst_session=0.001 * offset)
        tally.outcomes["done"] += 1
        for name in ("server", "turnaround", "late"):  # of sound: nothing was delivered
            getattr(tally, name).extend(0.001 * (offset + 2 * i) for i in range(50))
        tallies.append(json.loads(json.dumps(tally.to_json())))
    account = load.combine(tallies)
    assert (account["sent"], account["received"], account["lost"]) == (20, 19, 1)
    assert account["outcomes"] == {"done": 2}
    assert account["server_ms"]["count"] == 100
    assert account["server_ms"]["p50"] == pytest.approx(49.5) and account["delivery_ms"] is None
    assert account["worst_session_p99_ms"] == pytest.approx(1.0)
    np.testing.assert_allclose(times_from_json(tallies[0]["late"])[:2], [0, 0.002], rtol=1e-6)


def level(sessions: int, **changes: Any) -> dict[str, Any]:
    """A level that holds, but for the changes."""
    made = {
        "sessions": sessions, "outcomes": {"done": sessions}, "sent": 80, "lost": 0,
        "misnumbered": 0, "miscounted": 0, "server_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
        "turnaround_ms": {"p50": 1.5, "p95": 2.5, "p99": 3.5}, "late_ms": {"p99": 0.1},
        "delivery_ms": None, "generator_cores": 0.1, "worst_session_p99_ms": 3.0, **changes,
    }  # fmt: skip
    return {**made, "broke": load.why_broken(made)}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lost": 2}, "lost: 2"),
        ({"misnumbered": 1}, "misnumbered: 1"),
        ({"outcomes": {"done": 3, "refused 503": 1}}, "1 sessions ended as: refused 503"),
        ({"server_ms": {"p50": 1.0, "p99": 12.6}}, "server time p99 12.6 ms"),
        ({"turnaround_ms": {"p50": 13.0, "p99": 14.0}}, "turnaround p50 13.0 ms"),
        ({"server_ms": None}, "no packet was timed"),
    ],
)
def test_each_way_to_miss_the_deadline_is_told(changes: dict[str, Any], sentence: str) -> None:
    assert not level(4)["broke"]
    (told,) = level(4, **changes)["broke"]
    assert sentence in told


def test_pairs_are_held_by_what_the_way_takes() -> None:
    """The generator's own limit is told as such, and what a core would hold as a guess."""

    def pairs(count: int, delivery: float, late: float = 0.1) -> dict[str, Any]:
        times = {"p50": 1.0, "p99": delivery}
        return level(
            count, server_ms=None, turnaround_ms=None, delivery_ms=times, late_ms={"p99": late},
            server_cores=0.5, attempts=1,
        )  # fmt: skip

    held = pairs(100, 12.0)
    assert not held["broke"]
    (slow,) = pairs(200, 13.0)["broke"]
    assert "delivery p99 13.0 ms" in slow
    (late,) = pairs(200, 13.0, late=14.0)["broke"]
    assert "the load generator, and not the server, was 14.0 ms late" in late
    result = {"levels": [held, pairs(200, 13.0)], "holds": 100, "what": {**WHAT, "codes": True}}
    text = load.tables(result)[0].text()
    assert "At 100 the server took 0.50 of a core and the generator 0.10; at that, 200" in text
    assert load.charts(result)


@pytest.mark.parametrize("true_edge", [1, 5, 13, 32, 100])
def test_the_ramp_closes_in_on_the_edge(true_edge: int) -> None:
    levels: list[dict[str, Any]] = []
    asked: int | None = 1
    while asked is not None:
        assert asked not in [one["sessions"] for one in levels]
        levels.append(level(asked, lost=int(asked > true_edge)))
        asked = load.next_level(levels, 4096)
    held, broken = load.edge(levels)
    assert broken is not None and held <= true_edge < broken
    assert broken - held <= max(1, held // 8)


def test_the_ramp_ends_at_the_most_and_where_nothing_holds() -> None:
    assert load.next_level([level(8)], 8) is None
    assert load.next_level([level(6)], 8) == 8
    assert load.next_level([level(1, lost=1)], 8) is None
    assert load.edge([level(1, lost=1)]) == (0, 1)
    # A level that broke by chance below one that held counts.
    assert load.edge([level(4), level(2, lost=1), level(1)]) == (1, 2)


def test_a_level_that_breaks_has_a_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([level(2, lost=1), level(2), level(3, lost=5), level(3, lost=6)])
    monkeypatch.setattr(load, "measure_level", lambda *words: next(tries))
    args = parse("load", [])
    server = RunningServer("ws://127.0.0.1:9")
    first = load.attempt(server, 2, 1.0, args)
    assert (first["broke"], first["attempts"]) == ([], 2)
    second = load.attempt(server, 3, 1.0, args)
    assert (second["lost"], second["attempts"]) == (6, 2)
    text = load.tables({"levels": [first, second], "holds": 2, "what": WHAT})[0].text()
    assert "Held: 2 sessions. 3, tried twice: lost: 6." in text


def test_the_whole_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "load", "--sessions", "2", "--seconds", "1.5", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    (measured,) = told["levels"]
    assert (measured["sessions"], measured["sent"], measured["lost"]) == (2, 240, 0)
    assert measured["outcomes"] == {"done": 2}
    assert measured["health"]["frames_in_total"] >= 240
    assert told["machine"]["seed"] == 0 and told["complete"]
    assert load.tables(told)[0].rows[0][0] == 2 and load.charts(told)


def test_a_server_that_is_not_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "load", "--server", "ws://127.0.0.1:9", "--sessions", "1", "--seconds", "1"]
    assert main(words) == 1
    told = capsys.readouterr().err
    assert told.startswith("facodec bench: no server answers at ws://127.0.0.1:9: start one")


def test_a_server_that_does_not_start_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "load", "--model", "no-such-model", "--sessions", "1"]) == 1
    assert "the server did not start" in capsys.readouterr().err
