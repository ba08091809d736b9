"""File to file through a real server process, as fast as it goes: exact and complete."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from clients.cli import main
from clients.offline.voicebook import BUNDLED
from facodec.codec import Codec
from facodec.names import ANONYMOUS
from facodec.weights import bundled_path
from facodec.weights.timbres import voice_notes
from tests.exactness import assert_equal_audio, assert_equal_numbers, assert_equal_speech

FACODEC = [sys.executable, "-m", "clients.cli"]
HELLO = Path(__file__).parents[1] / "data" / "hello.flac"
REPLY = HELLO.with_name("reply.flac")
TIMEOUT = 120


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process = subprocess.Popen(
        [*FACODEC, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving at "), line
    yield line.split()[2]
    process.terminate()
    process.wait(TIMEOUT)


def facodec(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FACODEC, *map(str, words)], capture_output=True, text=True, timeout=TIMEOUT
    )


def read(path: Path) -> np.ndarray:
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == 16000 and sound.ndim == 1
    return sound


@pytest.fixture(scope="module")
def timbre(live: Codec, reply: np.ndarray) -> np.ndarray:
    return live.voice(reply)


@pytest.mark.parametrize("extra", [(), ("--local",), ("--frames-per-packet", "8")])
def test_talk_with_a_voice_equals_offline(
    extra: tuple[str, ...],
    server: str,
    tmp_path: Path,
    live: Codec,
    hello: np.ndarray,
    timbre: np.ndarray,
) -> None:
    out = tmp_path / "out.wav"
    done = facodec(
        "talk", "--server", server, "--fast", "--input", HELLO, "--output", out, "--voice", REPLY,
        "--seed", "5", "--json", *extra,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sound = read(out)
    assert_equal_speech(
        sound, lambda: np.clip(live.decode(live.encode(hello).codes, timbre, seed=5), -1, 1)
    )
    *_, summary = map(json.loads, done.stdout.splitlines())
    assert summary["type"] == "summary"
    assert summary["frames_in"] == summary["frames_out"] == len(sound) // 200
    assert summary["playout"] is None and summary["underruns"] == 0
    kilobits = summary["bytes_up"] * 8e-3 / (len(hello) / 16000)
    assert (kilobits < 15) == ("--local" in extra)


@pytest.mark.parametrize(
    ("extra", "medium", "bits"), [((), "sound", 16 * 200), (("--local",), "codes", 6 * 10)]
)
def test_a_live_run_sends_sound_in_16_bits_and_tells_it_from_codes(
    extra: tuple[str, ...], medium: str, bits: int, server: str, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "in.wav", read(HELLO)[:8_000], 16_000)
    done = facodec(
        "talk", "--server", server, "--input", tmp_path / "in.wav", "--output",
        tmp_path / "out.wav", "--json", *extra,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *_, summary = map(json.loads, done.stdout.splitlines())
    other = {"sound": "codes", "codes": "sound"}[medium]
    for way, frames in (("up", 40), ("down", summary["frames_out"])):
        told, plain = summary[f"{medium}_bits_{way}"], bits * frames
        # Codes go in fewer bits than they have: they are coded, and pauses left out.
        assert told == plain if medium == "sound" else plain / 4 < told < plain
        assert summary[f"{other}_bits_{way}"] == 0


def test_fewer_layers(server: str, tmp_path: Path, live: Codec, hello: np.ndarray) -> None:
    out = tmp_path / "out.flac"
    done = facodec(
        "talk", "--server", server, "--fast", "--input", HELLO, "--output", out, "--voice", HELLO,
        "--layers", "3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    voice = live.voice(hello)
    assert_equal_speech(
        read(out), lambda: np.clip(live.decode(live.encode(hello).codes[:3], voice), -1, 1)
    )


def test_conversion_equals_offline(
    server: str, tmp_path: Path, live: Codec, hello: np.ndarray, timbre: np.ndarray
) -> None:
    out = tmp_path / "out.wav"
    done = facodec(
        "convert", "--server", server, "--fast", "--input", HELLO, "--output", out,
        "--voice", REPLY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_equal_audio(read(out), np.clip(live.convert(hello, timbre), -1, 1))
    assert "frames       523 in, 523 out" in done.stdout


def test_any_sound_file_goes_in(server: str, tmp_path: Path, hello: np.ndarray) -> None:
    stereo = soxr.resample(np.stack([hello, hello], axis=1), 16000, 44100)
    soundfile.write(tmp_path / "in.mp3", stereo, 44100)
    out = tmp_path / "out.ogg"
    done = facodec(
        "talk", "--server", server, "--fast", "--input", tmp_path / "in.mp3", "--output", out
    )
    assert done.returncode == 0, done.stderr
    assert abs(len(read(out)) - len(hello)) < 3200


@pytest.mark.parametrize("command", ["talk", "publish"])
def test_an_input_that_is_damaged_further_on_is_told(
    command: str, server: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "cut.flac"
    damaged.write_bytes(HELLO.read_bytes()[: HELLO.stat().st_size // 2])
    words = {"talk": ["--output", tmp_path / "o.wav", "--fast"], "publish": ["--fast"]}[command]
    room = ["cut"] if command == "publish" else []
    done = facodec(command, *room, "--server", server, "--input", damaged, *words)
    assert done.returncode == 1
    assert done.stderr.endswith("cut.flac is damaged: Error : flac decoder lost sync.\n")


def test_a_room_carries_codes_from_one_to_another(
    server: str, tmp_path: Path, hello: np.ndarray
) -> None:
    """Both sides compute themselves."""
    spoken, out = tmp_path / "spoken.wav", tmp_path / "heard.wav"
    soundfile.write(spoken, hello[:40_000], 16000)
    listener = subprocess.Popen(
        [*FACODEC, "listen", "hall", "--server", server, "--output", str(out), "--local"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    publisher = subprocess.Popen(
        [
            *FACODEC, "publish", "hall", "--server", server, "--input", str(spoken), "--local",
            "--voice", str(REPLY),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        told = publisher.communicate(timeout=TIMEOUT)
        heard = listener.communicate(timeout=TIMEOUT)
    finally:
        publisher.kill()
        listener.kill()
    assert publisher.returncode == 0, told
    assert listener.returncode == 0, heard
    assert "the publisher left room hall" in heard[1]
    sound = read(out)
    # How much it missed depends on who was first; frames of a pause that were made in time, and
    # not taken off another one yet, may be too many.
    assert len(sound) % 200 == 0 and 0 < len(sound) <= 42_000
    assert np.abs(sound).max() > 0.01


def test_recordings_to_codes_and_back(
    tmp_path: Path,
    live: Codec,
    hello: np.ndarray,
    timbre: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fac, out = str(tmp_path / "hello.fac"), tmp_path / "out.wav"
    assert main(["encode", str(HELLO), fac]) == 0
    assert "4.8 kbit/s" in capsys.readouterr().out
    assert Path(fac).stat().st_size < 523 * 7.5 + 1500
    frames = live.encode(hello)
    assert main(["decode", fac, str(out)]) == 0
    expected = np.clip(live.decode(frames.codes, live.voice(hello)), -1, 1)[: len(hello)]
    assert_equal_audio(read(out), expected)
    more = ["--voice", str(REPLY), "--layers", "4", "--seed", "9"]
    assert main(["decode", fac, str(out), *more]) == 0
    expected = np.clip(live.decode(frames.codes[:4], timbre, seed=9), -1, 1)[: len(hello)]
    assert_equal_audio(read(out), expected)


def test_a_recording_is_not_replaced_by_its_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = tmp_path / "speech.flac"
    speech.write_bytes(HELLO.read_bytes())
    assert main(["encode", str(speech), str(tmp_path / "." / "speech.flac")]) == 2
    assert "would replace the file that is read" in capsys.readouterr().err
    assert speech.read_bytes() == HELLO.read_bytes()


def test_voices_are_saved_here_or_by_a_server_and_used_by_name(
    server: str,
    tmp_path: Path,
    timbre: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["voices", "add", "here", str(REPLY)]) == 0
    assert main(["voices", "add", "there", str(REPLY), "--server", server]) == 0
    capsys.readouterr()
    assert main(["voices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all("man, " in line for line in lines if " bundled " in line)
    listed = {line.split()[0] for line in lines}
    assert listed == {"here", "there", *voice_notes(bundled_path()), *BUNDLED, ANONYMOUS}
    for name in ("here", "there"):
        saved = tmp_path / "facodec" / "voices" / f"{name}.voice"
        assert_equal_numbers(np.fromfile(saved, "<f4", 256), timbre)
    out = tmp_path / "out.wav"
    talk = ["talk", "--server", server, "--fast", "--input", str(HELLO), "--output", str(out)]
    assert main([*talk, "--voice", "here"]) == 0
    assert main(["voices", "remove", "here"]) == 0
    assert main([*talk, "--voice", "here"]) == 2
    assert "no voice 'here' here" in capsys.readouterr().err
    for name, meant in (("theer", "there"), ("hazle", "hazel")):
        assert main([*talk, "--voice", name]) == 2
        assert f"(unknown-voice); did you mean {meant!r}?" in capsys.readouterr().err
        assert main(["voices", "play", name, "--output", str(out)]) == 2
        assert f"did you mean {meant!r}?" in capsys.readouterr().err
    assert main(["voices", "remove", "theer"]) == 2
    assert "saved are: there; did you mean 'there'?" in capsys.readouterr().err


def test_verify_says_ok_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(line.startswith("OK") for line in lines)


def test_the_demo_writes_a_file_and_shows_the_ledger(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    done = facodec("demo", "--output", out)
    assert done.returncode == 0, done.stderr
    assert len(read(out)) == 523 * 200
    assert "all of it" in done.stdout and f"Listen to {out}" in done.stdout
