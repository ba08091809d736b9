"""Rows of a server's sessions: rates, words, and a server that says anything."""

from __future__ import annotations

from typing import Any

import pytest

from clients.session.watched import COLUMNS, Watch

SESSION: dict[str, Any] = {
    "id": "k3J9xQ2mZ0aB", "role": "convert", "address": "192.0.2.7", "seconds": 3671.5,
    "frames_in": 800, "frames_out": 790, "bytes_in": 10_000, "bytes_out": 20_000,
    "lag_ms": {"p50": 2.0, "p95": 3.0, "p99": 4.5}, "unsent_frames": 4, "paused": 2,
}  # fmt: skip
SERVER: dict[str, Any] = {
    "status": "ok", "sessions": 1, "capacity": 8, "uptime_s": 59.9, "load": 0.25, "slowness": 1.0,
    "metrics": {"queue_ms": {"p50": 0.5, "p95": 1.0, "p99": 2.0}, "compute_ms": {}},
}  # fmt: skip


def told(*sessions: dict[str, Any]) -> dict[str, Any]:
    return {"server": SERVER, "sessions": list(sessions)}


def test_rates_are_those_since_the_last_look() -> None:
    watch = Watch()
    first = watch.look(told({**SESSION, "seconds": 10.0})).sessions[0]
    assert (first["in_kbps"], first["out_kbps"]) == (8.0, 16.0)
    later = {**SESSION, "seconds": 12.0, "bytes_in": 10_500, "bytes_out": 20_000}
    again = watch.look(told(later)).sessions[0]
    assert (again["in_kbps"], again["out_kbps"]) == (2.0, 0.0)
    watch.look(told())
    assert watch.look(told(later)).sessions[0]["in_kbps"] == 7.0, "a session that is new"


def test_a_row_for_each_session_and_the_ledger_above() -> None:
    waiting = {"id": "b", "role": "subscribe", "room": "hall", "waits": True, "lag_ms": {}}
    look = Watch().look(told(SESSION, waiting))
    first, second = look.rows()
    assert first[:7] == [
        "k3J9xQ2mZ0aB", "convert", "-", "192.0.2.7", "1:01:11", "800/790", "2.0/4.5"
    ]  # fmt: skip
    assert first[8:] == ["50", "2"] and len(first) == len(second) == len(COLUMNS)
    assert second[:7] == ["b", "subscribe (waits)", "hall", "-", "0:00", "0/0", "-"]
    head = look.table()
    assert "ok, up 0:59: 1 of 8 sessions" in head and "load 25%" in head
    assert "queue 0.5/1.0/2.0, computing -" in head
    assert len(head.splitlines()) == 2 + 1 + 3


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"server": [], "sessions": []},
        {"server": {}, "sessions": {}},
        {"server": {}, "sessions": [1]},
    ],
)
def test_what_is_no_answer_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Watch().look(answer)


def test_nothing_that_a_server_says_steers_the_terminal() -> None:
    strange = {"id": "\x1b[2J", "role": ["x"], "room": {"a": 1}, "seconds": "long", "lag_ms": 5}
    look = Watch().look({"server": {"metrics": 3, "status": "\x07"}, "sessions": [strange]})
    assert "\x1b" not in look.table() and "\x07" not in look.table()
