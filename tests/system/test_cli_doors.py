"""Commands and the files and environments they meet: pipes, odd names, full disks, no home, taken
ports, missing packages; each ends with a sentence, before the work where that can be."""

from __future__ import annotations

import os
import re
import resource
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clients.audio.files import read_audio
from clients.cli import COMMANDS, main

FACODEC = [sys.executable, "-m", "clients.cli"]
HELLO = Path(__file__).parents[1] / "data" / "hello.flac"
REPLY = HELLO.with_name("reply.flac")
TIMEOUT = 120
LONG = "n" * 300


def facodec(*words: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*FACODEC, *(os.fsencode(word) for word in words)],
        capture_output=True, timeout=TIMEOUT, **options,
    )  # fmt: skip


def test_standard_input_and_output_are_files_too(tmp_path: Path) -> None:
    coded = facodec("encode", "-", "-", input=HELLO.read_bytes(), cwd=tmp_path)
    assert coded.returncode == 0 and b"-: 6.53 s" in coded.stderr
    decoded = facodec("decode", "-", "-", input=coded.stdout, cwd=tmp_path)
    assert decoded.returncode == 0, decoded.stderr
    (tmp_path / "out.wav").write_bytes(decoded.stdout)
    assert len(read_audio(tmp_path / "out.wav")) == len(read_audio(HELLO))
    assert os.listdir(tmp_path) == ["out.wav"]


def test_names_that_are_not_text_are_done_and_shown_escaped(tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"h\xff\xfe.flac")
    name.write_bytes(HELLO.read_bytes())
    for more in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        done = facodec(
            "encode", name, name.with_suffix(".fac"), env={**os.environ, **more}, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert b"h\\xff\\xfe.fac: 6.53 s" in done.stdout
    talk = ("talk", "--serve", "--fast", "--input", name, "--output", "o.wav")
    assert b"h\\xff\\xfe.flac -> o.wav" in facodec(*talk, cwd=tmp_path).stderr
    env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    assert facodec("voices", "add", "anna", name, env=env).returncode == 0
    listed = facodec("voices", env=env)
    assert listed.returncode == 0 and b"h\\xff\\xfe.flac" in listed.stdout
    missing = facodec("encode", tmp_path / os.fsdecode(b"\xff\n.wav"), "x.fac")
    assert missing.returncode == 1 and b"there is no file" in missing.stderr
    assert b"\\xff\\n.wav" in missing.stderr and b"Traceback" not in missing.stderr


def test_a_nameless_user_without_a_home(tmp_path: Path) -> None:
    """As in a container that runs under any number."""
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CONFIG_HOME", "USER")}
    program = (
        "import pwd, sys\n"
        "def nobody(*_): raise KeyError('no such user')\n"
        "pwd.getpwuid = nobody\n"
        "from clients.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    listed = subprocess.run(
        [sys.executable, "-c", program, "voices"], capture_output=True, env=env, timeout=TIMEOUT
    )
    assert listed.returncode == 0 and b"hazel" in listed.stdout, listed.stderr
    add = [sys.executable, "-c", program, "voices", "add", "anna", str(HELLO)]
    added = subprocess.run(add, capture_output=True, env=env, timeout=TIMEOUT)
    assert added.returncode == 1 and b"expected a home or $XDG_CONFIG_HOME" in added.stderr


def test_no_recording_is_destroyed_by_what_is_made_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    me, fac = tmp_path / "me.wav", tmp_path / "a.fac"
    soundfile.write(me, read_audio(HELLO), 16000)
    (tmp_path / "link.wav").symlink_to(me)
    before = me.read_bytes()
    assert main(["encode", str(me), str(fac)]) == 0
    out, voice = str(tmp_path / "link.wav"), ["--voice", str(me)]
    for words in (
        ["convert", *voice, "--input", str(HELLO), "--output", out, "--serve", "--fast"],
        ["talk", "--input", str(HELLO), "--save-input", out, *voice, "--serve"],
        ["publish", "room", "--input", str(me), "--save-input", out],
        ["decode", str(fac), out, *voice],
        ["encode", str(me), out],
        ["listen", "room", "--output", out, "--token-file", str(me)],
        ["listen", "room", "--output", out, "--ca", str(me)],
    ):
        assert main(words) == 2
        assert "would replace the file that is read" in capsys.readouterr().err
    assert me.read_bytes() == before


def test_what_is_no_speech_has_codes_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = {"silence": np.zeros(8000), "short": read_audio(HELLO)[:4000]}
    for name, sound in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", sound, 16000)
        coded = str(tmp_path / f"{name}.fac")
        assert main(["encode", str(tmp_path / f"{name}.wav"), coded]) == 0
        assert "no speech found" in capsys.readouterr().err
        assert main(["decode", coded, str(tmp_path / "out.wav")]) == 0
        assert len(read_audio(tmp_path / "out.wav")) == len(sound)


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    program = "import os, sys\nos.rmdir(os.getcwd())\nfrom clients.cli import main\n"
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program + "sys.exit(main(['encode', 'a.wav', 'b.fac']))"],
        capture_output=True, cwd=gone, timeout=TIMEOUT,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 1 and b"the current folder cannot be used" in done.stderr


def test_a_limit_on_files_ends_in_a_sentence(tmp_path: Path) -> None:
    facodec("encode", HELLO, tmp_path / "a.fac")
    limits: dict[str, Any] = {
        "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    }
    for words in (("encode", HELLO, tmp_path / "b.fac"), ("decode", tmp_path / "a.fac", "b.wav")):
        done = facodec(*words, cwd=tmp_path, **limits)
        assert done.returncode == 1 and b"the limit for the size of a file" in done.stderr
        assert b"Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["a.fac"]


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (
        ("encode", HELLO, "file/a.fac"),
        ("decode", "none.fac", "file/a.wav"),
        ("bench", "--out", "file/report"),
        ("bench", "step", "--save-baseline", "file/a.json"),
        ("bench", "voice", "--data", ".", "--out", "file/report"),
    ):
        done = facodec(*words, cwd=tmp_path)
        assert done.returncode == 1 and b"cannot write" in done.stderr, done.stderr


def test_a_taken_port_is_said_before_a_model_is_loaded(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--model", "/no/such/model"]) == 1
    error = capfd.readouterr().err
    assert f"port {port}: Address already in use" in error and "--port" in error


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "bench"])
def test_options_are_never_abbreviated(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"voices": ["add", "a", "b", "--serve"], "publish": ["r", "--serve"],
             "listen": ["r", "--serve"], "serve": ["--hos", "x"]}  # fmt: skip
    with pytest.raises(SystemExit) as left:
        main([command, *words.get(command, ["--hel"])])
    assert left.value.code == 2
    assert "unrecognized" in (error := capsys.readouterr().err) or "required" in error


@pytest.mark.parametrize(
    "words", [["publish", "r", "--input", str(HELLO)], ["listen", "r", "--output", "o.wav"]]
)
def test_advice_fits_the_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
        assert main([*words, "--server", url]) == 1
    error = capsys.readouterr().err
    assert "--serve" not in error


def test_a_missing_package_is_a_sentence(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from clients.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    talk = ["talk", "--input", str(HELLO), "--output", "out.wav"]
    env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    for words in (
        ["encode", str(HELLO), "a.fac"],
        ["decode", "a.fac", "a.wav"],
        ["serve"],
        ["demo"],
        ["verify"],
        ["bench", "step"],
        [*talk, "--local"],
        [*talk, "--serve"],
        ["voices", "add", "anna", str(HELLO)],
        ["train", "--run", "run", "--data", "."],
        ["export", "--out", "graphs"],
    ):
        extra = {"train": "train", "export": "onnx"}.get(words[0], "server")
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            capture_output=True, text=True, timeout=TIMEOUT, cwd=tmp_path, env=env,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert done.stderr == (
            f"facodec {words[0]}: this needs PyTorch, which computes the codec: "
            f"pip install 'facodec-live[{extra}]'\n"
        )
    assert not list(tmp_path.iterdir())


def test_the_environment_names_the_server(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with socket.socket() as free, socket.socket() as other:
        for each in (free, other):
            each.bind(("127.0.0.1", 0))
        url, given = (f"ws://127.0.0.1:{each.getsockname()[1]}" for each in (free, other))
        monkeypatch.setenv("FACODEC_SERVER", url)
        for words in (
            ["talk", "--input", str(HELLO), "--output", "o.wav"],
            ["publish", "r", "--input", str(HELLO)],
            ["listen", "r", "--output", "o.wav"],
            ["voices", "add", "anna", str(HELLO)],
        ):
            assert main(words) == 1
            assert url in capsys.readouterr().err
            assert main([*words, "--server", given]) == 1
            assert given in capsys.readouterr().err
    done = facodec("talk", "--serve", "--fast", "--input", HELLO, "--output", "o.wav", cwd=tmp_path)
    assert done.returncode == 0, done.stderr  # a server of its own, not that one


def test_no_progress_goes_into_a_pipe(tmp_path: Path) -> None:
    done = facodec("encode", HELLO, tmp_path / "a.fac")
    assert done.stderr == b""


def test_poor_references_are_remarked_on(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", read_audio(HELLO)[:32_000], 16000)
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(np.arange(64_000) / 7), 16000)
    env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    added = facodec("voices", "add", "slt", tmp_path / "short.wav", env=env)
    assert added.returncode == 0
    assert b"lasts 2.0 s" in added.stderr and b"hides the bundled voice" in added.stderr
    again = facodec("voices", "add", "slt", tmp_path / "short.wav", env=env)
    assert again.returncode == 2 and b"--replace" in again.stderr
    tone = facodec("voices", "add", "tone", tmp_path / "tone.wav", env=env)
    assert tone.returncode == 1 and b"no speech found" in tone.stderr


def test_a_standard_output_that_takes_nothing_is_told() -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for words in (["voices"], ["--help"], ["talk", "--help"], ["encode", str(HELLO), "-"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*FACODEC, *words], stdout=full, stderr=subprocess.PIPE,
                                  timeout=TIMEOUT, env=buffered)  # fmt: skip
        assert done.returncode == 1
        assert re.search(rb"cannot write (standard output|-): the disk is full\n$", done.stderr)


def test_a_standard_error_that_takes_nothing_ends_no_command(tmp_path: Path) -> None:
    fac = tmp_path / "a.fac"
    for words, status in ((["info", "none"], 1), (["encode", str(HELLO), str(fac)], 0)):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*FACODEC, *words], stderr=full, stdout=subprocess.DEVNULL)
        assert done.returncode == status
    assert fac.read_bytes().startswith(b"FACODEC")


def test_standard_streams_that_are_closed_are_told(tmp_path: Path) -> None:
    """No file that is opened gets their numbers, which libraries print to."""
    program = " ".join(map(shlex.quote, [*FACODEC, "encode"]))
    for closed, sentence in ((">&-", "write standard output"), ("<&-", "read standard input")):
        done = subprocess.run(f"{program} - - {closed}", shell=True, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
        assert done.returncode == 1
        assert done.stderr == f"facodec encode: cannot {sentence}: it is closed\n".encode()
    fac = tmp_path / "a.fac"
    done = subprocess.run(f"{program} {HELLO} {fac} <&- >&- 2>&-", shell=True)
    assert done.returncode == 0 and fac.read_bytes().startswith(b"FACODEC")


@pytest.mark.parametrize(
    "words",
    [
        ["talk", "--serve", "--input", str(HELLO), "--output"],
        ["talk", "--serve", "--input", str(HELLO), "--output", "a.wav", "--save-input"],
        ["convert", "--voice", "hazel", "--serve", "--output"],
        ["demo", "--output"],
        ["voices", "play", "hazel", "--output"],
        ["decode", "none.fac"],
    ],
)
def test_a_name_that_is_no_sound_file_is_told_before_the_work(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Loading the model would be the work, and fail."""
    monkeypatch.chdir(tmp_path)
    for name in ("x.txt", "x.fac", "x"):
        more = ["--model", "/no/such/model"]
        assert main([*words, name, *more]) == 1
        assert f"cannot tell a sound format from {name!r}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_files_of_a_server_are_looked_at_before_models_are_loaded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "anna.voice").write_bytes(b"damaged")
    for words, sentence in (
        (["--token-file", "none"], "there is no file none"),
        (["--token-file", "/dev/zero"], "/dev/zero is a device, not a file"),
        (["--token-file", str(tmp_path / "file")], "holds no token"),
        (["--voices", "none"], "the voice directory none does not exist"),
        (["--voices", str(tmp_path / "voices")], "anna.voice is not a voice, or is damaged"),
        (["--record", str(tmp_path / "file")], "cannot write into the folder"),
        (["--tls-cert", "none.pem"], "cannot read certificate none.pem"),
        (["--tls-cert", "/dev/zero"], "/dev/zero is a device, not a file"),
        (["--token-file", LONG], f"facodec serve: {LONG}: its name is too long"),
        (["--tls-cert", LONG], f"cannot read certificate {LONG}: "),
        (["--voices", LONG], f"the voice directory {LONG} cannot be read: its name is too long"),
        (["--record", LONG], f"cannot write into the folder {LONG}: its name is too long"),
        (
            ["--host", "nowhere.invalid", "--open"],
            "facodec serve: cannot listen at nowhere.invalid: ",
        ),
    ):
        assert main(["serve", "--port", "0", "--model", "/no/such/model", *words]) == 1
        assert sentence in capfd.readouterr().err
