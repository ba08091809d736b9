"""The command line as a user meets it first: help, versions, wrong words."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from clients.cli import COMMANDS, _parser, _top_parser, main, module_of
from clients.parsing import Parser

FACODEC = [sys.executable, "-m", "clients.cli"]
LIGHT = (
    "", "talk", "convert", "publish", "listen", "serve", "top", "devices", "voices", "demo",
    "encode",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert f"facodec {command}" in text
    assert text.count(f"facodec {command} ") >= 2 or "examples" in text


def test_the_top_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("command", LIGHT)
def test_help_loads_neither_torch_nor_audio(command: str) -> None:
    words = [word for word in (command, "--help") if word]
    program = (
        "import sys, clients.cli\n"
        f"try: clients.cli.main({words!r})\n"
        "except SystemExit: pass\n"
        "print({'torch', 'numpy', 'sounddevice', 'soundfile'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_no_command_shows_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["dance"], "invalid choice: 'dance'"),
        (["talk", "--layers", "7"], "from 3 to 6, got 7"),
        (["talk", "--layers", "many"], "from 3 to 6, got many"),
        (["talk", "--frames-per-packet", "9"], "from 1 to 8, got 9"),
        (["talk", "--seed", "-1"], "from 0 to 2147483647, got -1"),
        (["convert"], "required: --voice"),
        (["convert", "--voice", "a", "--pitch", "220"], "in Hz, is --talker-pitch"),
        (["talk", "--gain", "nan"], "a number from -24 to 24, got nan"),
        (["talk", "--gate", "3"], "a number from -90 to 0, got 3"),
        (["publish"], "required: ROOM"),
        (["serve", "--port", "x"], "invalid int value"),
        (["train", "--run", "r", "--minutes", "nan"], "expected minutes, more than 0, got nan"),
        (["train", "--run", "r", "--minutes", "soon"], "expected minutes, more than 0, got soon"),
        (["train", "--run", "r", "--threads", "-1"], "number from 1 to 999999999, got -1"),
        (["train", "--run", "r", "--report-every", "0"], "number from 1 to 999999999, got 0"),
        (["tlak"], "did you mean 'talk'?"),
        (["encode", "a.wav", "a.fac", "--layer", "3"], "did you mean '--layers'?"),
        (["convert", "--voise", "hazel"], "did you mean '--voice'"),
        (["voices", "rmove", "anna"], "did you mean 'remove'?"),
        (["bench", "qualty"], "did you mean 'quality'?"),
    ],
)
def test_wrong_words_are_usage_errors(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["talk", "--fast"], "--fast needs --input"),
        (["talk", "--fast", "--input", "a.wav"], "--fast needs --output"),
        (["talk", "--serve", "--server", "ws://a"], "leave out --server"),
        (["talk", "--serve", "--reconnect"], "--reconnect is for"),
        (["talk", "--input", "a.wav", "--output", "a.wav"], "must be different files"),
        (["serve", "--port", "70000"], "expected a port in 0..65535"),
        (["serve", "--keep-voices", "3"], "give --voices DIR too"),
        (["train", "--run", "no/run"], "nothing to do: give --data DIR"),
        (["top", "--token", "a", "--token-file", "b"], "leave one of them out"),
        (["top", "--token-file", "no/such"], "there is no file no/such"),
        (["talk", "--server", "ws://h", "--token-file", "/dev/zero"], "/dev/zero is a device"),
        (["voices", "add", "a/b", "x.wav"], "cannot name a voice"),
        (["voices", "remove", "nobody"], "there is no saved voice 'nobody'"),
        (["voices", "play", "nobody"], "there is no voice 'nobody'"),
        (["talk", "--local", "--talker", "nobody"], "no voice of that name is known here"),
        (["export", "--model", ".", "--out", "./."], "holds the weights that are read"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_status_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_failures_are_a_sentence_and_status_1(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "empty.wav").touch()
    (folder / "text.fac").write_text("not codes")
    out = str(folder / "out.wav")
    for words, sentence in (
        (["talk", "--input", "no.wav", "--output", out], "there is no file no.wav"),
        (["talk", "--input", str(folder / "empty.wav"), "--output", out], "is empty"),
        (["encode", "no.wav", "x.fac"], "there is no file no.wav"),
        (["decode", str(folder / "no.fac"), out], "there is no file"),
        (["decode", str(folder / "text.fac"), out], "is not a .fac file"),
        (["play", str(folder / "no.fac")], "there is no file"),
        (["bench", "load", "--server", "http://x:1"], "is no server address; one is ws://x:1"),
        (["train", "--run", out, "--data", str(folder), "--device", "tpu"], "device 'tpu' cannot"),
        (["verify", str(folder / "none")], "the model cannot be loaded"),
    ):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert sentence in error and "Traceback" not in error
    assert not (folder / "out.wav").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--server", "http://host:8765/"],
            "'http://host:8765/' is no server address; one is ws://host",
        ),
        (["--server", "host:8765"], "one is ws://host:8765"),
        (["--server", "ws://"], "one is ws://127.0.0.1:8765"),
        (
            ["--server", "wss://host", "--ca", "none.pem"],
            "cannot read the certificates in none.pem",
        ),
        (["--server", "wss://host", "--ca", "/dev/zero"], "/dev/zero is a device, not a file"),
        (["--server", "ws://host", "--token", "ключ"], "token"),
        (["--voice", "none.wav"], "there is no file none.wav"),
        (["--talker", "none.wav"], "there is no file none.wav"),
    ],
)
@pytest.mark.parametrize("command", ["talk", "publish"])
def test_what_was_typed_is_looked_at_before_devices(
    command: str, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """There may be none here: with a device the next error would be that nobody answers."""
    room = ["room"] if command == "publish" else []
    assert main([command, *room, *words, "--device-in", "no such device"]) in (1, 2)
    assert sentence in capsys.readouterr().err


def test_voices_that_nobody_has_are_told_before_a_server_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "facodec" / "voices").mkdir(parents=True)
    (tmp_path / "facodec" / "voices" / "friend.voice").write_bytes(b"damaged")
    for name, meant in (("freind", "friend"), ("hazle", "hazel"), ("stl", "slt")):
        assert main(["convert", "--serve", "--voice", name]) == 2
        error = capsys.readouterr().err
        assert f"there is no voice {name!r}; known are: friend, " in error
        assert error.rstrip().endswith(f"; did you mean {meant!r}?")


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "quality"],
        ["bench", "voice"],
        ["bench", "wire"],
        ["bench", "--only", "quality"],
        ["train", "--run", "run"],
        ["train-entropy", "--output", "."],
    ],
)
def test_a_folder_of_speech_that_is_none_is_told_before_the_work(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for name, told in (("nodir", "which does not exist"), ("file", "which is no folder")):
        assert main([*words, "--data", name]) == 1
        assert f"expected a folder of speech, got {name}, {told}" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--output", "file/out.wav"],
        ["export", "--out", "file/graphs"],
        ["train", "--data", ".", "--run", "run", "--export", "file/weights"],
        ["train-entropy", "--data", ".", "--output", "file/weights"],
        ["train-entropy", "--data", ".", "--output", ".", "--cache", "file", "--model", "none"],
        ["train-entropy", "--data", ".", "--output", ".", "--cache", "file/x", "--model", "none"],
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(words) == 1
    assert "cannot write" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its parts."""
    yield parser
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for part in action.choices.values():
                yield from parsers(part)


def test_no_parser_takes_abbreviations() -> None:
    commands = [_parser(name, import_module(module_of(name))) for name in COMMANDS]
    found = [each for parser in (_top_parser(), *commands) for each in parsers(parser)]
    assert len(found) > len(COMMANDS) + 15
    assert all(isinstance(each, Parser) and not each.allow_abbrev for each in found)


def test_every_number_has_bounds() -> None:
    """No option takes what is infinite or no number; serve, train and export ask their settings."""
    commands = {name: _parser(name, import_module(module_of(name))) for name in COMMANDS}
    free = []
    for name in COMMANDS.keys() - {"serve", "train", "export"}:
        for part in filled(commands[name]):
            for action in part._actions:
                free += [f"{part.prog} {action.dest}"] * (action.type in (int, float))
    assert not free


def filled(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its parts, with the options that they get when they are used."""
    for part in parsers(parser):
        with pytest.raises(SystemExit):
            part.parse_args(["--help"])
        yield part


def test_the_version() -> None:
    done = subprocess.run([*FACODEC, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("facodec-live ")
