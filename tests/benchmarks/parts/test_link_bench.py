"""The tables and pictures of talks over paths, and a real path between two namespaces."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.link import namespaces
from benchmarks.link.namespaces import Namespace
from benchmarks.link.sound import Ear, Mouth
from benchmarks.parts import link
from benchmarks.registry import parse


def result() -> dict[str, Any]:
    row = {
        "path": "clean", "key": "clean", "codec": "Opus 6, 20 ms", "codec_key": "opus-20",
        "there_kbps": 22.0, "back_kbps": 0.0, "p50_ms": 80.0, "p99_ms": 90.0, "live_again_s": None,
        "late_after_stalls_ms": None, "silence_s": 0.0, "wrong_words": 0.05,
        "delays": [[1.0, 80.0], [2.0, 81.0]],
    }  # fmt: skip
    return {
        "seconds": 60.0,
        "side": "up",
        "codecs": {"opus-20": 0.04},
        "rows": [row, {**row, "codec_key": "v2-4", "failed": "nothing was heard"}],
    }


def test_the_table_has_a_row_for_each_talk_and_says_which_failed() -> None:
    (table,) = link.tables(result())
    assert [len(row) for row in table.rows] == [len(link.COLUMNS)] * 2
    assert table.rows[0][-1] == "5%"
    assert "nothing was heard" in table.rows[1]
    assert "opus-20 4%" in table.note
    assert link.tables({}) == []


def test_after_ctrl_c_talks_under_way_end_and_no_other_begins() -> None:
    begun: list[int] = []
    ended: list[bool] = []
    stop, started = threading.Event(), threading.Event()

    def first() -> int:
        return 1

    def under_way() -> int:
        started.set()
        ended.append(stop.wait(10))
        return 2

    def other() -> int:
        begun.append(3)
        return 3

    talks = link.side_by_side([first, under_way, *[other] * 3], 1, stop)
    assert next(talks) == 1 and started.wait(10)
    with pytest.raises(KeyboardInterrupt):
        talks.throw(KeyboardInterrupt())
    assert not begun and ended == [True]


def test_talks_side_by_side_come_in_order() -> None:
    works = [partial(str, number) for number in range(5)]
    stop = threading.Event()
    assert list(link.side_by_side(works, 3, stop)) == ["0", "1", "2", "3", "4"]


def test_table_and_picture_go_into_a_document(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- paths -->\nold\n<!-- end -->\nafter\n")
    link.write(document, result())
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n")
    assert "| clean |" in text and "(page.svg)" in text and "old" not in text
    assert "<svg" in (tmp_path / "page.svg").read_text()
    document.write_text("no markers")
    with pytest.raises(ValueError, match="<!-- paths -->"):
        link.write(document, result())


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces.os, "geteuid", lambda: 1000)
    if sys.platform.startswith("linux"):
        with pytest.raises(ValueError, match="root"):
            link.measure(parse("link", []), {})


@pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing()))
def test_a_path_between_two_namespaces_carries_packets(tmp_path: Path) -> None:
    log = tmp_path / "way.json"
    near, far = Namespace("10.77.0.1"), Namespace("10.77.0.2")
    try:
        command = [
            sys.executable, "-m", "benchmarks.link.forward", "--path", "clean", "--seconds", "9",
            "--near", str(near.tun), "--far", str(far.tun), "--log", str(log),
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(near.tun, far.tun)
        ) as way:
            assert way.stdin is not None and way.stdout is not None
            assert way.stdout.readline() == b"ready\n"
            way.stdin.write(f"{time.monotonic()}\n".encode())
            way.stdin.flush()
            ears = far.do(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            lips = near.do(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with ears, lips:
                ears.bind(("10.77.0.2", 5004))
                ears.settimeout(10)
                began = time.monotonic()
                lips.sendto(b"hello", ("10.77.0.2", 5004))
                assert ears.recv(100) == b"hello"
                assert time.monotonic() - began >= 0.02
            way.stdin.close()
            way.stdin = None
    finally:
        near.close()
        far.close()
    sent = [(came - at, way, size) for at, came, way, size in json.loads(log.read_text())]
    assert sent == [(pytest.approx(0.02), 0, 20 + 8 + 5)]


def test_a_mouth_says_what_it_is_given_when_it_is_told_to() -> None:
    mouth, ear = Mouth(np.ones(300, np.float32)), Ear()
    mouth.begin(1.0)
    for at in (0.98, 0.99, 1.01, 1.02, 1.03):
        ear.hear(at, mouth.block(at, 200))
    assert (mouth.began, ear.began) == (1.01, 0.98)
    np.testing.assert_array_equal(np.flatnonzero(ear.heard), np.arange(400, 700))


def test_options_are_read() -> None:
    args = parse("link", ["--path", "clean", "--codec", "v2-4", "--seconds", "20"])
    assert isinstance(args, argparse.Namespace)
    assert (args.path, args.codec, args.seconds, args.side) == (["clean"], ["v2-4"], 20.0, "up")
