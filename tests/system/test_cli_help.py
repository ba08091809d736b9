"""The command line as a user meets it first: help, versions, wrong words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clients.cli import COMMANDS, main

FACODEC = [sys.executable, "-m", "clients.cli"]
LIGHT = ("", "talk", "convert", "publish", "listen", "serve", "devices", "voices", "demo", "encode")


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
        (["publish"], "required: ROOM"),
        (["serve", "--port", "x"], "invalid int value"),
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
        (["voices", "add", "a/b", "x.wav"], "cannot name a voice"),
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
        (["verify", str(folder / "none")], "the model cannot be loaded"),
    ):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert sentence in error and "Traceback" not in error
    assert not (folder / "out.wav").exists()


def test_the_version() -> None:
    done = subprocess.run([*FACODEC, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("facodec-live ")
