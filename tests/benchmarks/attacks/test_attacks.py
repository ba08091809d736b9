"""Attacks are real: clients that misbehave on a real server, beside sessions that lose nothing."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from benchmarks.attacks import checks, document, requests, wire
from benchmarks.attacks.alone import _after_silence
from benchmarks.attacks.attacker import CLIENTS
from benchmarks.attacks.cases import ATTACKS, BY_NAME
from benchmarks.attacks.job import Job
from benchmarks.attacks.relay import Relay
from benchmarks.attacks.wire import OWNER, RefusedError, Target, Wire
from benchmarks.load import undisturbed
from benchmarks.parts import attack
from clients.cli import main
from facodec.codec import Codec
from facodec.config import HOP
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings

T = TypeVar("T")
PATIENCE = 60.0


def on_server(codec: Codec, work: Callable[[Server, Target], Awaitable[T]], **settings: Any) -> T:
    async def scenario() -> T:
        async with Server(ServerSettings(port=0, **settings), {"live": codec}) as server:
            token = settings.get("tokens", (None,))[0]
            target = Target.of(server.url, token=token)
            return await asyncio.wait_for(work(server, target), PATIENCE)

    return asyncio.run(scenario())


def test_the_bare_client_speaks_the_protocol(untrained: Codec) -> None:
    async def work(server: Server, target: Target) -> list[str]:
        client = await Wire.open(target)
        client.write({"type": "hello", "version": 1, "role": "loopback", "pcm": "s16"})
        client.write({"type": "audio", "seq": 0, "data": bytes(2 * HOP * 80)})
        client.write({"type": "end"})
        told = []
        while (message := await client.receive()) is not None:
            told.append(str(message["type"]))
        await client.finish()
        return told

    told = on_server(untrained, work, tokens=("secret",))
    assert (told[0], told[-1], told.count("audio")) == ("ready", "done", 80)


def test_the_bare_client_tells_how_it_is_refused(untrained: Codec) -> None:
    async def work(server: Server, target: Target) -> int:
        with pytest.raises(RefusedError) as refused:
            await Wire.open(Target(target.host, target.port, OWNER, "wrong"))
        return refused.value.status

    assert on_server(untrained, work, tokens=("secret",)) == 401


def test_nobody_there_is_an_oserror() -> None:
    with pytest.raises(OSError):
        asyncio.run(Wire.open(Target("127.0.0.1", 9)))
    assert asyncio.run(wire.exchange(Target("127.0.0.1", 9), b"")) == (0, b"")


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_are_masked_and_say_their_length(size: int) -> None:
    frame = wire.framed(bytes(size))
    assert frame[0] == 0x82 and frame[1] & 0x80
    short = frame[1] & 0x7F
    told = short if short < 126 else int.from_bytes(frame[2 : 4 if short == 126 else 10], "big")
    assert told == size and len(frame) - size in (6, 8, 14)


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_every_attacker_works_and_the_server_is_there_afterwards(
    untrained: Codec, name: str
) -> None:
    words = {"tiny-messages": "clock", "unfinished": "message", "publish": "r",
             "deaf-listener": "r", "fill-room": "r", "wait-in-rooms": "r-#"}  # fmt: skip

    async def work(server: Server, target: Target) -> Job:
        job = Job(target, 2, 0.7, words.get(name, ""))
        await CLIENTS[name](job)
        told = await wire.get(target, "/healthz")
        assert told[0] == 200 and json.loads(told[1])["status"] == "ok"
        return job

    job = on_server(untrained, work, max_sessions=20)
    if name not in ("guess-tokens", "slowloris"):
        assert job.counts["opened"] > 0


def test_attackers_count_why_they_are_turned_away(untrained: Codec) -> None:
    async def work(server: Server, target: Target) -> Job:
        holder = await Wire.open(target)
        holder.write({"type": "hello", "version": 1, "role": "loopback"})
        await holder.receive()
        job = Job(target, 1, 0.4)
        await CLIENTS["many-sessions"](job)
        holder.abort()
        return job

    counts = on_server(untrained, work, max_sessions=1).counts
    assert counts["error overloaded"] >= 1, counts


def test_a_relay_that_goes_deaf_keeps_old_connections_and_serves_new_ones(
    untrained: Codec,
) -> None:
    async def work(server: Server, target: Target) -> list[Any]:
        async with Relay(target) as relay:
            through = Target.of(relay.url)
            old = await Wire.open(through)
            relay.go_deaf()
            gc.collect()  # a connection that nobody holds on to would be closed by it
            old.write({"type": "clock", "t0": 0.0})
            old.write({"type": "hello", "version": 1, "role": "loopback"})
            waiting = asyncio.ensure_future(old.receive())
            new = await Wire.open(through)
            new.write({"type": "hello", "version": 1, "role": "loopback"})
            answer = await new.receive()
            assert answer is not None
            silent = not waiting.done() and not old.writer.is_closing()
            held = server.sessions
            waiting.cancel()
            old.abort()
            new.abort()
            return [answer["type"], silent, held]

    assert on_server(untrained, work) == ["ready", True, 2]


def test_the_end_of_a_silence_is_found() -> None:
    assert _after_silence([0.0, 1.0, 1.5, 1.9, 5.0, 5.1], deaf=1.2) == 5.0
    assert _after_silence([0.0, 1.0, 1.3, 1.9, 2.5], deaf=1.2) is None
    assert _after_silence([0.5], deaf=1.0) is None


@pytest.mark.parametrize(
    ("check", "held", "text"),
    [
        (checks.Check("lag", 99.0, 100.0, "ms"), True, "99 ms"),
        (checks.Check("lag", 101.0, 100.0, "ms"), False, "101 ms"),
        (checks.Check("gone", 6.0, 7.0, "s", beyond=True), False, "more than 6 s"),
        (checks.Check("gone", None, 7.0, "s"), False, "not measured"),
        (checks.of_tries("in", 27, 30), True, "27 of 30"),
        (checks.of_tries("in", 26, 30), False, "26 of 30"),
        (checks.share("drained", 3, 4), False, "3 of 4"),
    ],
)
def test_a_figure_beside_its_bound(check: checks.Check, held: bool, text: str) -> None:
    assert (check.held, check.figure_text) == (held, text)
    assert check.to_json()["held"] is held


def test_malformed_requests_are_all_different_and_none_is_an_upgrade() -> None:
    made = requests.malformed_requests(Target("127.0.0.1", 1))
    assert len(set(made.values())) == len(made) >= 20


def test_the_live_sessions_notice_a_wrong_frame(tmp_path: Path) -> None:
    said = undisturbed.speech()[: 60 * HOP]
    import facodec

    codec = facodec.load("live")
    encoder = codec.encoder_stream()
    decoder = codec.decoder_stream(np.zeros(256, np.float32))
    sent = undisturbed.Media16(undisturbed.hello(), said).samples(60)
    heard = np.rint(decoder.push(encoder.push(sent)) * 32768).astype("<i2")
    good, bad = heard.copy(), heard.copy()
    bad[20 * HOP + 3] += 40
    good.tofile(tmp_path / "heard-0.s16")
    bad.tofile(tmp_path / "heard-1.s16")
    told = undisturbed.inexact(tmp_path, said)
    assert told["frames"] == 2 * (len(heard) // HOP - undisturbed.TAIL)
    assert told["inexact"] == 1 and 39 <= told["worst"] <= 41


def test_every_attack_has_a_name_a_sentence_and_one_way_to_be_made() -> None:
    assert len(BY_NAME) == len(ATTACKS)
    for one in ATTACKS:
        assert one.summary and (one.beside is None) != (one.alone is None)


def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Attacks\n\n{document.OPENING}{document.CLOSING}\n\nThe end.\n")
    words = ["bench", "attack", "foreign-page", "malformed"]
    assert main([*words, "--json", "--write", str(page), "--column", "before"]) in (0, 3)
    out = capsys.readouterr()
    told = json.loads(out.out)
    assert [one["name"] for one in told["attacks"]] == ["foreign-page", "malformed"]
    assert "attack 2 of 2: malformed" in out.err
    for one in told["attacks"]:
        account = one["undisturbed"]
        assert account["sent"] == account["received"] > 0 and account["outcomes"] == {"done": 4}
        assert (account["lost"], account["misnumbered"], account["inexact"]) == (0, 0, 0)
        assert account["frames"] > 0 and one["lag_ms"]["max"] >= one["lag_ms"]["p50"] > 0
        assert one["memory_mib"]["most"] > 10
    origins = told["attacks"][0]["checks"]
    assert origins[0]["what"] == "foreign pages refused" and origins[0]["bound"] == 5
    (table,) = attack.tables(told)
    assert [row[0] for row in table.rows] == ["foreign-page", "malformed"]
    text = page.read_text()
    assert text.startswith("# Attacks") and text.endswith("The end.\n")
    assert "| malformed " in text and " of 22" in text


def made_attack(name: str, figure: float, held_bound: float) -> dict[str, Any]:
    return {
        "name": name, "summary": "what it does", "lag_ms": {"p99": 20.0},
        "lag_before_ms": {"p99": 18.0}, "memory_mib": {"growth": 3.0},
        "checks": [checks.Check("kept out", figure, held_bound, "s").to_json(),
                   checks.Check("lag p99", 20.0, 100.0, "ms").to_json(),
                   checks.Check("server grows", 3.0, 2.0, "MiB").to_json()],
    }  # fmt: skip


def test_a_column_of_the_document_is_filled_and_the_other_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n{document.OPENING}{document.CLOSING}\nAfter.\n")
    document.fill(page, "before", {"a": made_attack("a", 9.0, 5.0)})
    document.fill(page, "after", {"a": made_attack("a", 1.0, 5.0)})
    document.fill(page, "after", {"b": made_attack("b", 2.0, 5.0)})
    rows = document._rows(page.read_text())
    assert rows["a"] == [
        "a", "what it does", "kept out: at most 5 s", "**9 s**; lag 20 ms (18); **+3 MiB**",
        "1 s; lag 20 ms (18); **+3 MiB**",
    ]  # fmt: skip
    assert rows["b"][3:] == ["–", "2 s; lag 20 ms (18); **+3 MiB**"]
    with pytest.raises(ValueError, match="attacks"):
        other = tmp_path / "other.md"
        other.write_text("nothing here")
        document.fill(other, "after", {})


def test_an_unknown_attack_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "attack", "no-such"]) == 1
    assert "got no-such" in capsys.readouterr().err


def test_a_list_of_all_attacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "attack", "--list"]) == 0
    assert capsys.readouterr().out.count("\n") == len(ATTACKS)


def test_bounds_read_as_people_say_them() -> None:
    assert checks.share("drained", 3, 4).bound_text == "all 4"
    assert checks.Check("answered 5xx", 2, 0, "of 22").bound_text == "none of 22"
    assert checks.Check("lag", 2.0, 100.0, "ms").bound_text == "at most 100 ms"
    assert checks.of_tries("in", 2, 30).bound_text == "at least 27 of 30"


def test_an_attack_on_a_server_of_its_own_accounts_for_every_session() -> None:
    told = attack.measure_attack(BY_NAME["closed-output"], 1.0, seed=0)
    (check,) = told["checks"]
    assert (check["what"], check["bound"]) == ("sessions drained", 4)
    assert sum(told["attackers"].values()) == 4
    assert told["held"] == (check["figure"] == 4)
