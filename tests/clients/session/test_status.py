"""The ledger, the live line, JSON lines, the table."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from clients.library.clock import ClockEstimate
from clients.session.ledger import STAGES, Ledger, Reservoir
from clients.session.status import (
    SILENCE_DB,
    LevelMeter,
    Progress,
    Reporter,
    Sampler,
    summary,
    totals,
)
from clients.session.uplink import LinkCounters


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress() -> Progress:
    state = Progress(started=10.0)
    state.samples_in, state.samples_out = 16000, 15000
    state.wire.bytes_up, state.wire.messages_up = 750, 80
    state.level.add(np.array([0.1, -0.5], np.float32))
    for stage in STAGES:
        state.ledger.add(stage, 0.010)
    return state


def test_a_reservoir_stays_small_and_stays_fair() -> None:
    reservoir = Reservoir(capacity=500)
    for value in range(100_000):
        reservoir.add(value)
    assert reservoir.count == 100_000
    assert reservoir.quantile(0.5) == pytest.approx(50_000, rel=0.1)
    assert reservoir.quantile(0.95) == pytest.approx(95_000, rel=0.05)
    assert len(reservoir._values) == 500


def test_an_empty_ledger_has_no_table() -> None:
    ledger = Ledger()
    assert ledger.table() == "" and ledger.as_dict() == {} and ledger.brief() == "-"
    assert Reservoir().quantile(0.5) is None
    with pytest.raises(KeyError):
        ledger.add("no such stage", 1.0)


def test_the_table_shows_p50_and_p95_of_the_stages_seen() -> None:
    ledger = Ledger()
    for milliseconds in range(100):
        ledger.add("queue", milliseconds / 1000)
    assert ledger.as_dict() == {"queue": {"p50_ms": 50.0, "p95_ms": 95.0, "count": 100}}
    lines = ledger.table().splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:3] == ["queue", "50.0", "95.0"]


def test_the_level_is_the_peak_since_the_last_look() -> None:
    meter = LevelMeter()
    meter.add(np.array([0.1, -1.0], np.float32))
    meter.add(np.array([], np.float32))
    assert meter.take() == pytest.approx(0.0)
    assert meter.take() == SILENCE_DB


def test_rates_are_those_since_the_last_snapshot() -> None:
    state = progress()
    sampler = Sampler(state)
    first = sampler.take(11.0)
    assert first.up_kbps == pytest.approx(6.0)
    assert first.headers_kbps == (pytest.approx(37.12), 0.0)
    assert first.lag_ms == pytest.approx(62.5)
    assert (first.frames_in, first.frames_out) == (80, 75)
    state.wire.bytes_up += 1500
    assert sampler.take(13.0).up_kbps == pytest.approx(6.0)


def test_the_line_tells_sound_from_codes() -> None:
    state = progress()
    sampler = Sampler(state)
    assert "nothing sent yet" in sampler.take(11.0).as_line(200)
    state.wire.sound_bits_up, state.wire.codes_bits_down = 256_000, 4_800
    one_way = sampler.take(12.0)
    assert "sound 256 kbit/s out, codes 4.8 kbit/s in" in one_way.as_line(80)
    assert one_way.as_dict()["sound_kbps"] == [256.0, 0.0]
    assert one_way.as_dict()["codes_kbps"] == [0.0, 4.8]
    state.wire.codes_bits_up, state.wire.codes_bits_down = 4_800, 9_600
    assert "codes 4.8 kbit/s out, codes 4.8 kbit/s in" in sampler.take(13.0).as_line(80)


def test_a_slow_link_is_told_and_what_was_dropped_is_no_lag() -> None:
    state = progress()
    sampler = Sampler(state)
    assert "link" not in sampler.take(11.0).as_line(200)
    assert "link " not in totals(state, 12.0)
    state.trouble = "link too slow: 2.4 kbit/s"
    state.link.dropped, state.link.steps = 4, 1
    slow = sampler.take(12.0)
    assert "]  link too slow: 2.4 kbit/s  " in slow.as_line(80)
    assert slow.lag_ms == pytest.approx(12.5)
    assert slow.as_dict()["trouble"] == state.trouble
    counted = LinkCounters(steps=1, dropped=4).as_dict()
    assert slow.as_dict()["link"] == summary(state, 12.0)["link"] == counted
    assert "too slow: packets made smaller or longer 1 times, 0 frames sent" in totals(state, 12.0)
    assert "4 dropped" in totals(state, 12.0)


def test_what_a_network_has_lost_is_told() -> None:
    state = progress()
    sampler = Sampler(state)
    assert "losses" not in totals(state, 12.0)
    state.link.lost, state.link.repaired, state.link.concealed = 4, 8, 3
    assert "8 repaired, 3 concealed, 4 lost" in sampler.take(12.0).as_line(140)
    assert "losses       8 repaired, 3 concealed, 4 lost frames" in totals(state, 12.0)


def test_the_line_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    line, terminal, pipe = Sampler(progress()).take(11.0), Terminal(), io.StringIO()
    Reporter(errors=terminal, out=io.StringIO()).show(line)
    Reporter(errors=pipe, out=io.StringIO()).show(line)
    assert terminal.getvalue().startswith("\r") and "\n" not in terminal.getvalue()
    words = (
        "wire 6.0/0.0 kbit/s",
        "with headers 43/0",
        "lag 62 ms",
        "underruns 0",
        "sum 10/10 ms",
        "[####",
    )
    for word in words:
        assert word in terminal.getvalue()
    assert pipe.getvalue() == ""


def test_the_line_fits_the_terminal() -> None:
    snapshot = Sampler(progress()).take(11.0)
    assert snapshot.as_line(70).endswith("lag 62 ms  underruns 0")
    assert all(len(snapshot.as_line(width)) <= width for width in range(22, 120))


def test_messages_do_not_tear_the_line() -> None:
    terminal = Terminal()
    reporter = Reporter(errors=terminal, out=io.StringIO())
    reporter.show(Sampler(progress()).take(11.0))
    reporter.say("hello")
    assert terminal.getvalue().endswith("\nhello\n")


def test_json_is_one_object_a_line_and_nothing_else() -> None:
    out, errors = io.StringIO(), Terminal()
    reporter = Reporter(as_json=True, out=out, errors=errors)
    state = progress()
    reporter.say("connected")
    reporter.show(Sampler(state).take(11.0))
    reporter.conclude(state, 12.0)
    objects = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [o["type"] for o in objects] == ["message", "status", "summary"]
    assert objects[2] == summary(state, 12.0)
    assert objects[2]["ledger"]["sum"]["p50_ms"] == 10.0
    assert errors.getvalue() == ""


def test_the_end_has_the_ledger_and_the_wire() -> None:
    out = io.StringIO()
    state = progress()
    state.playout = {"concealed": 1600}
    Reporter(out=out, errors=io.StringIO()).conclude(state, 11.0)
    text = out.getvalue()
    assert "all of it" in text and "frames       80 in, 75 out" in text
    assert "kbit/s out   6.0 in WebSocket payload, 43.1 or so with headers" in text
    assert "0 underruns, 0 overruns, 100 ms concealed" in text


def test_the_shortest_round_trip_decides_about_the_clock() -> None:
    clock = ClockEstimate()
    assert not clock.known and clock.offset == 0.0
    clock.add(asked=10.0, server=510.3, answered=10.4)  # 0.1 s off, it took the slow way back
    clock.add(asked=11.0, server=511.0005, answered=11.001)
    clock.add(asked=12.0, server=512.5, answered=12.6)
    assert clock.offset == pytest.approx(500.0)
    assert clock.round_trip == pytest.approx(0.001)
    clock.add(asked=13.0, server=0.0, answered=12.0)  # time went backwards: no use
    assert clock.offset == pytest.approx(500.0)
