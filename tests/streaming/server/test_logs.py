from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming.server import journal, logs
from streaming.server.logs import BURST, EVERY, MOST_KINDS, REMIND, Throttle
from streaming.server.output import MOST_WAITING, Output
from streaming.wire.protocol import Hello


class Lines:
    """Takes the lines that an Output would write."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.on_tick: Any = None

    def every_tick(self, call: Any) -> None:
        self.on_tick = call

    def complain(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def heard() -> Iterator[Any]:
    """``heard(as_json)``: the lines that are logged from now on."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def configure(as_json: bool = False, level: str = "info") -> Lines:
        lines = Lines()
        logs.configure(lines, level, as_json)  # type: ignore[arg-type]
        return lines

    yield configure
    root.handlers[:], _ = before
    root.setLevel(before[1])
    logging.captureWarnings(False)
    for package in logs.PACKAGES:
        logging.getLogger(package).setLevel(logging.NOTSET)


def test_a_session_is_two_lines(heard: Any) -> None:
    lines = heard().lines
    times = iter([10.0, 12.5])
    session = journal.SessionJournal("k3J9", "192.0.2.1", lambda: next(times))
    session.start(Hello("publish", room="a b", token="hush"), "line 3")
    session.end(200, 0, "hang-up")
    assert [line.split(" ", 1)[1] for line in lines] == [
        'INFO session started id=k3J9 address=192.0.2.1 role=publish room="a b" token="line 3"',
        'INFO session ended id=k3J9 address=192.0.2.1 role=publish room="a b" frames_in=200 '
        "frames_out=0 seconds=2.500 why=hang-up",
    ]


def test_a_room_of_any_script_is_one_word_of_ascii(heard: Any) -> None:
    for as_json in (False, True):
        lines = heard(as_json=as_json).lines
        session = journal.SessionJournal("k3J9", "192.0.2.1", lambda: 0.0)
        session.start(Hello("publish", room="k\u00fcche-\u53a8\u623f"), None)
        assert lines[0].isascii() and "k\\u00fcche-\\u53a8\\u623f" in lines[0]


def test_one_that_does_not_start_is_a_refusal(heard: Any) -> None:
    lines = heard(as_json=True).lines
    journal.SessionJournal("k3J9", "192.0.2.1", float).end(0, 0, "unauthorized")
    record = json.loads(lines[0])
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info", "logger": "streaming.server.journal", "message": "session refused",
        "id": "k3J9", "address": "192.0.2.1", "why": "unauthorized",
    }  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_client_chose_cannot_make_a_line_or_steer_a_terminal(
    heard: Any, as_json: bool
) -> None:
    lines = heard(as_json).lines
    evil = "x\n2026-01-01 INFO session started\r\x1b[2J\u2028\u202e\x85\ud800" + "y" * 10_000
    journal.refused("192.0.2.1", 403, evil, evil)
    logging.getLogger("streaming.test").warning("odd %s", evil)
    try:
        raise ValueError(evil)
    except ValueError:
        logging.getLogger("streaming.test").exception("broken")
    assert len(lines) == 3
    rows = "\n".join(lines).encode().decode().splitlines()
    assert all(row.isascii() and row.isprintable() for row in rows)
    assert len(lines[0]) < 1500
    if not as_json:
        assert [row for row in rows if not row.startswith("    ")] == [
            lines[0], lines[1], lines[2].splitlines()[0],
        ]  # fmt: skip


def test_levels(heard: Any) -> None:
    lines = heard(level="warning").lines
    journal.event("serving")
    logging.getLogger("asyncio").info("library")
    logging.getLogger("streaming.server.runtime").warning("fallback")
    assert [line.split(" ", 1)[1] for line in lines] == ["WARNING fallback"]


def test_a_flood_is_bounded_and_counted() -> None:
    throttle = Throttle()
    written = [throttle.admit("refused 401", logging.INFO, 0.0) for _ in range(7747)]
    assert written[:BURST] == [0] * BURST and set(written[BURST:]) == {None}
    assert throttle.admit("refused 403", logging.INFO, 0.0) == 0  # another kind is heard
    assert throttle.overdue(REMIND - 1.0) == []
    assert throttle.overdue(REMIND) == [("refused 401", logging.INFO, 7747 - BURST)]
    assert throttle.overdue(2 * REMIND) == []
    assert throttle.admit("refused 401", logging.INFO, 2 * REMIND) == 0


def test_a_steady_flood_is_one_line_a_second() -> None:
    throttle = Throttle()
    admitted = [throttle.admit("refused", logging.INFO, step / 100) for step in range(100_000)]
    lines = [left_out for left_out in admitted if left_out is not None]
    assert len(lines) <= BURST + 1000 / EVERY
    assert sum(lines) + len(lines) > 99_800  # none is forgotten


def test_kinds_without_end_share_one() -> None:
    throttle = Throttle()
    admitted = [throttle.admit(f"kind {n}", logging.INFO, 0.0) for n in range(10_000)]
    assert sum(left_out is not None for left_out in admitted) == MOST_KINDS + BURST


def test_left_out_lines_are_counted_in_the_log(heard: Any, monkeypatch: Any) -> None:
    now = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    lines = heard()
    for _ in range(BURST + 7):
        journal.refused("192.0.2.1", 401, "/", "no")
    assert len(lines.lines) == BURST
    now[0] = 2 * EVERY
    journal.refused("192.0.2.1", 401, "/", "no")
    assert lines.lines[-1].endswith("and_more_before=7")
    for _ in range(5):
        journal.refused("192.0.2.1", 401, "/", "no")
    now[0] += REMIND
    lines.on_tick()
    assert lines.lines[-1].endswith("INFO request refused 401 and_more=4")


def output_to(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> Output:
    monkeypatch.setattr(sys, "stdout", os.fdopen(descriptor, "w", closefd=False))
    return Output()


def test_lines_arrive_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with output_to(monkeypatch, write) as output:
        for number in range(100):
            output.say(f"line {number} ключ \ud800")
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as lines:
        assert lines.read().splitlines() == [f"line {n} ключ \\ud800" for n in range(100)]


def test_a_reader_who_has_gone_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with output_to(monkeypatch, write) as output:
        output.say("nobody hears this")
    os.close(write)


def test_a_full_disk_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with full.open("w") as device, output_to(monkeypatch, device.fileno()) as output:
        output.say("nobody keeps this")


def test_a_closed_descriptor_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with Output() as output:
        output.say("nobody hears this")


def test_a_reader_who_does_not_read_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    output = output_to(monkeypatch, write)
    said = threading.Thread(
        target=lambda: [output.say("x" * 1000) for _ in range(2 * MOST_WAITING)], daemon=True
    )
    said.start()
    said.join(60)
    assert not said.is_alive()
    output.close(patience=0.01)  # nor does it wait for him
    os.close(read)  # lets the writer fail and end
    output.close(patience=60)
    os.close(write)
