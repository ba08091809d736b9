"""Options that have no effect beside others are told."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from clients.cli import main
from clients.commands import convert, listen, play, publish, talk
from clients.session.idle import idle_devices, idle_options
from streaming.wire.protocol import Role

COMMANDS: dict[str, tuple[object, Role]] = {
    "talk": (talk, "loopback"),
    "convert": (convert, "convert"),
    "publish": (publish, "publish"),
    "listen": (listen, "subscribe"),
}
ADDRESS = "ws://127.0.0.1:8765"


def told(words: str, url: str = ADDRESS) -> list[str]:
    """The options told of a command line."""
    name, *rest = words.split()
    module, role = COMMANDS[name]
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)  # type: ignore[attr-defined]
    sentences = idle_options(parser.parse_args(rest), role, url)
    return [sentence.split()[0] for sentence in sentences]


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        ("talk --redundancy 3 --no-pauses", "--redundancy --no-pauses"),
        ("talk --input a.wav --device-in 3", "--device-in"),
        ("talk --output a.wav --device-out 3 --playout 50", "--device-out --playout"),
        ("talk --serve --token x --ca y", "--token --ca"),
        ("talk --ca y", "--ca"),
        ("convert --voice hazel --layers 4", "--layers"),
        ("convert --voice hazel --local --no-pauses", "--no-pauses"),
        ("convert --voice anonymous --local --layers 4", "--layers"),
        ("talk --voice anonymous.7 --local --layers 4", "--layers"),
        ("talk --local --fast --input a.wav --output b.wav --no-pauses", "--no-pauses"),
        ("publish kitchen --local --seed 4", "--seed"),
        ("listen kitchen --output a.fac --redundancy 2 --seed 4", "--redundancy --seed"),
        ("talk --local --redundancy 2", "--redundancy"),
    ],
)
def test_what_has_no_effect_is_told(words: str, idle: str) -> None:
    assert told(words) == idle.split()


@pytest.mark.parametrize(
    "words",
    [
        "talk",
        "talk --serve --input a.wav --output b.wav --fast --layers 4 --seed 3",
        "talk --local --no-pauses --redundancy 0 --layers 3",
        "convert --voice hazel --local --layers 4 --talker-pitch 120 --pitch 2 --gain 1 --gate -50",
        "publish kitchen --local --frames-per-packet 4 --layers 5",
        "listen kitchen --local --frames-per-packet 4 --seed 3 --playout 50 --device-out 3",
        "listen kitchen --output a.fac --layers 3",
    ],
)
def test_what_has_an_effect_is_not(words: str) -> None:
    assert not told(words)


def test_what_is_for_a_kind_of_address() -> None:
    assert not told("talk --local --redundancy 2 --ca x", "quic://host:1")
    assert not told("talk --ca x", "wss://host:1")


def test_a_played_file_takes_the_loudspeakers_place() -> None:
    parser = argparse.ArgumentParser()
    play.add_arguments(parser)
    given = parser.parse_args(["a.fac", "--output", "b.wav", "--device-out", "3"])
    assert idle_devices(given) == [
        "--device-out has no effect: the file of --output takes the device's place"
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["play", "none.fac", "--output", "b.wav", "--device-out", "3"],
        ["voices", "play", "nobody", "--output", "b.wav", "--device-out", "3"],
        ["listen", "kitchen", "--server", "ws://127.0.0.1:1", "--output", "b.wav",
         "--device-out", "3"],
    ],
)  # fmt: skip
def test_commands_tell_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(words) in (1, 2)
    assert capsys.readouterr().err.startswith("--device-out has no effect")
