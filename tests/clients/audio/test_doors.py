"""Files in and out: pipes, devices, links, names that are not text, disks that are full, and
nothing that is read is ever destroyed."""

from __future__ import annotations

import io
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clients.audio.files import AudioWriter, keep_apart, read_audio
from clients.errors import UsageError
from clients.offline.recordings import encode_file
from facodec import files, pipes
from facodec.files import (
    Replacement,
    need_folder,
    need_writable,
    open_input,
    read_bytes,
    write_bytes,
)
from facodec.reasons import FileError, shown
from facodec.sound import lengths, links, reading
from facodec.sound.reading import AudioReader

HELLO = Path(__file__).parents[2] / "data" / "hello.flac"
REPLY = HELLO.with_name("reply.flac")


def limited(program: str, *words: object, size: int) -> subprocess.CompletedProcess[str]:
    """Runs a program that can write files of at most ``size`` bytes."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------- reading


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(HELLO.read_bytes()))
    feeder.start()
    np.testing.assert_array_equal(read_audio(pipe), read_audio(HELLO))
    feeder.join()


def test_a_pipe_is_opened_before_the_work_and_gets_nothing_of_what_failed(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe.wav", []
    os.mkfifo(pipe)
    for fails in (True, False):
        reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
        reader.start()
        with suppress(ValueError), AudioWriter(pipe, partial=False) as out:  # which waits for it
            out.write(np.zeros(1_600, np.float32))
            if fails:
                raise ValueError
        reader.join(20)
    assert [len(data) for data in read] == [0, 44 + 3 * 1_600]


def test_waiting_for_the_other_end_of_a_pipe_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, told = tmp_path / "pipe", threading.Event()
    os.mkfifo(pipe)
    monkeypatch.setattr(pipes, "PATIENCE", 0.0)
    monkeypatch.setattr(pipes.log, "filters", [lambda record: told.set() or True])
    for wait, other in (
        (lambda: read_bytes(pipe, 9), lambda: pipe.write_bytes(b"x")),
        (lambda: write_bytes(pipe, b"x"), lambda: pipe.read_bytes()),
    ):
        told.clear()
        thread = threading.Thread(target=wait)
        thread.start()
        assert told.wait(20)
        other()
        thread.join(20)
        assert not thread.is_alive()


def test_what_cannot_be_read_is_told_with_its_reason(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for path, reason in (
        (tmp_path / "none", "there is no file"),
        (tmp_path, "is a folder, not a file"),
        (loop, "loop: its links lead in a circle"),
        (Path("n" * 300), "n: its name is too long"),
    ):
        for look in (files.need_input, open_input):
            with pytest.raises(FileError, match=reason):
                look(path)
    with pytest.raises(FileError, match=r"expected a folder of speech, got .*, which cannot be"):
        files.need_speech(loop)


def test_a_link_to_a_device_is_a_sentence(tmp_path: Path) -> None:
    link = tmp_path / "voice.wav"
    link.symlink_to("/dev/zero")
    with pytest.raises(FileError, match=r"voice\.wav is a device"):
        AudioReader(link)


def test_more_than_is_wanted_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileError, match="too large: expected at most 100 bytes"):
        read_bytes(path, 100)


def test_a_circle_of_links_and_a_name_too_long(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to("a.wav")
    for name in ("a.wav", "x" * 300 + ".wav", "nul\0.wav"):
        with pytest.raises(FileError):
            open_input(tmp_path / name)
        with pytest.raises(FileError):
            AudioWriter(tmp_path / name).write(np.zeros(1, np.float32))
    with pytest.raises(FileError, match=r"cannot write .*a\.wav: its links lead in a circle"):
        need_writable(tmp_path / "a.wav")
    with pytest.raises(FileError, match=r"into the folder .*a\.wav: it is no folder"):
        need_folder(tmp_path / "a.wav")


def test_names_are_shown_escaped() -> None:
    assert shown(os.fsdecode(b"b\xffd\x1b[31m\n.wav")) == "b\\xffd\\x1b[31m\\n.wav"
    assert shown("jörg.wav") == "jörg.wav"
    assert shown("x" * 9_000 + ".wav") == f"{'x' * 500} ... {'x' * 496}.wav"


def test_a_flac_of_unknown_length_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "unknown.flac"
    data = bytearray(HELLO.read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO that say how long it is
    data[22:26] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_audio(path), read_audio(HELLO))


@pytest.mark.parametrize(
    "suffix", [".ogg", ".flac", ".wav", ".mp3", ".caf", ".rf64", ".au", ".w64", ".aiff"]
)
def test_all_links_of_a_chain_are_read(suffix: str, tmp_path: Path) -> None:
    first, second = read_audio(HELLO)[:50_000], read_audio(REPLY)[:30_000]
    for name, sound in (("a", first), ("b", second)):
        soundfile.write(tmp_path / f"{name}{suffix}", sound, 16000)
    chained = tmp_path / f"chained{suffix}"
    chained.write_bytes(b"".join((tmp_path / f"{n}{suffix}").read_bytes() for n in "aba"))
    parts = [read_audio(tmp_path / f"{name}{suffix}") for name in "aba"]
    np.testing.assert_array_equal(read_audio(chained), np.concatenate(parts))


def test_links_of_odd_length_need_no_byte_between(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, read_audio(HELLO)[:20_001], 16000, "PCM_U8")
    alone, data = read_audio(path), bytearray(path.read_bytes()[:-1])
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    path.write_bytes(2 * data)
    np.testing.assert_array_equal(read_audio(path), np.tile(alone, 2))


def test_links_of_odd_length_may_have_a_byte_between(tmp_path: Path) -> None:
    path = tmp_path / "a.caf"
    soundfile.write(path, read_audio(HELLO)[:20_001], 16000, "PCM_S8")
    alone, data = read_audio(path), path.read_bytes()
    assert len(data) % 2 or data.endswith(b"\0")
    path.write_bytes(2 * (data + bytes(len(data) % 2)))
    np.testing.assert_array_equal(read_audio(path), np.tile(alone, 2))


def test_more_links_than_are_read_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "MOST_LINKS", 2)
    monkeypatch.setattr(reading, "MOST_LINKS", 2)
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    (tmp_path / "chain.wav").write_bytes(3 * (tmp_path / "a.wav").read_bytes())
    with pytest.raises(FileError, match="more than 2 sound files"):
        read_audio(tmp_path / "chain.wav")


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_whose_header_was_never_completed(size: int, tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, read_audio(HELLO), 16000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = size.to_bytes(4, "little")
    wanted = read_audio(path)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_audio(path), wanted)


HEADERS = {"WAV": 44, "RF64": 100, "AIFF": 54, "AU": 24, "MAT4": 72, "SDS": 21}
"""Bytes before the samples that say how many there are."""


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_whose_length_is_too_short(kind: str, tmp_path: Path) -> None:
    """A recorder was ended before it wrote the last length."""
    path, short, sound = tmp_path / "a", tmp_path / "b", read_audio(HELLO)
    soundfile.write(path, sound[:50_000], 16000, format=kind)
    soundfile.write(short, sound[:20_000], 16000, format=kind)
    wanted = read_audio(path)
    head = short.read_bytes()[: HEADERS[kind]]
    path.write_bytes(head + path.read_bytes()[len(head) :])
    np.testing.assert_array_equal(read_audio(path), wanted)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU"])
def test_tags_after_the_samples_are_no_sound(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, read_audio(HELLO)[:50_000], 16000, format=kind)
    wanted, data = read_audio(path), path.read_bytes()
    order = "little" if kind == "WAV" else "big"
    whole = b"MARK" + (4000).to_bytes(4, order) + bytes(4000)
    for tail in (b"TAG" + b"x" * 125, *([whole, whole[:3000]] if kind != "AU" else [])):
        path.write_bytes(data + tail)
        np.testing.assert_allclose(read_audio(path)[: len(wanted)], wanted)
        assert len(read_audio(path)) - len(wanted) < 128
    assert not caplog.records


@pytest.mark.parametrize("kind", HEADERS)
def test_a_file_that_was_cut_off_is_read_up_to_there_and_told(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cut"
    soundfile.write(path, read_audio(HELLO)[:50_000], 16000, format=kind)
    wanted = read_audio(path)
    assert not caplog.records
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    got = read_audio(path)
    assert 24_500 < len(got) < 25_500
    np.testing.assert_array_equal(got, wanted[: len(got)])
    assert "cut was cut off: it is read up to there, 50 %" in caplog.text


@pytest.mark.parametrize("kind", HEADERS)
def test_any_header_can_be_looked_at(kind: str, tmp_path: Path) -> None:
    path, random = tmp_path / "a", np.random.default_rng(0)
    soundfile.write(path, np.zeros(1000), 16000, format=kind)
    data = path.read_bytes()
    for _ in range(1000):
        damaged = bytearray(data[: random.integers(1, 2000)])
        for _ in range(random.integers(3)):
            place = random.integers(min(len(damaged), HEADERS[kind]))
            damaged[place : place + 4] = random.choice(
                [b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff" * 4]
            )
        assert 0 <= lengths.look(io.BytesIO(damaged), 0, len(damaged)).there <= 1
    assert lengths.look(io.BytesIO(data[:12]), 0, 12).there <= 1


def test_a_tag_after_flac_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "tagged.flac"
    path.write_bytes(HELLO.read_bytes() + b"TAG" + bytes(125))
    np.testing.assert_array_equal(read_audio(path), read_audio(HELLO))


@pytest.mark.parametrize("rate", [1, 2_000_000])
def test_rates_that_are_none(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "rate.wav"
    soundfile.write(path, np.zeros(100_000), rate)
    with pytest.raises(FileError, match=rf"has {rate} samples a second"):
        AudioReader(path)


def test_sound_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """A quarter of an hour in 20 kB."""
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(1_000_000, np.int16), 1000)
    assert path.stat().st_size < 20_000
    tracemalloc.start()
    try:
        assert sum(map(len, AudioReader(path).pieces())) == pytest.approx(16_000_000, abs=100)
        assert tracemalloc.get_traced_memory()[1] < 16e6
    finally:
        tracemalloc.stop()


def test_all_channels_are_heard(tmp_path: Path) -> None:
    path = tmp_path / "many.wav"
    sound = np.zeros((16000, 8))
    sound[:, 7] = 0.4
    soundfile.write(path, sound, 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path), 0.05, atol=1e-6)


def test_channels_that_cancel_each_other_are_heard(tmp_path: Path) -> None:
    """One of the two cables of a microphone was wired the wrong way round."""
    path, sound = tmp_path / "wired.wav", read_audio(HELLO)
    soundfile.write(path, np.stack([0.9 * sound, -sound], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path), -sound, atol=1e-6)


# ---------------------------------------------------------------------------------------- writing


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with pytest.raises(KeyboardInterrupt), Replacement(path) as new:
        new.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


def test_a_full_disk_is_a_sentence_and_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    program = (
        "import sys; from pathlib import Path; from facodec.files import *\n"
        "try: write_bytes(Path(sys.argv[1]), bytes(9000))\n"
        "except FileError as error: print(error)"
    )
    done = limited(program, path, size=4096)
    assert "a.bin: the limit for the size of a file is reached" in done.stdout, done.stderr
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]
    with pytest.raises(FileError, match="the disk is full"):
        write_bytes(Path("/dev/full"), b"x")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize("partial", [True, False])
def test_a_recording_is_readable_up_to_where_the_disk_was_full(
    suffix: str, partial: bool, tmp_path: Path
) -> None:
    path = tmp_path / f"out{suffix}"
    program = (
        "import sys, numpy as np; from clients.files import *; from facodec.files import *\n"
        f"try:\n  with AudioWriter(sys.argv[1], partial={partial}) as writer:\n"
        "    for block in np.random.default_rng(0).uniform(-.5, .5, (40, 4000)):\n"
        "      writer.write(block)\n"
        "except FileError as error: print(error)"
    )
    done = limited(program, path, size=30_000)
    assert "the limit for the size of a file is reached" in done.stdout, done.stderr
    assert "cffi" not in done.stderr
    assert os.listdir(tmp_path) == ([path.name] if partial else [])
    if partial:
        assert 4000 <= len(read_audio(path)) < 160_000


@pytest.mark.parametrize("name", ["x.raw", "x.mat", "x"])
def test_formats_that_are_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="give it the suffix"):
        AudioWriter(tmp_path / name)


def test_a_raw_file_is_no_sound_file(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(bytes(range(256)) * 100)
    with pytest.raises(FileError, match="is no sound file that can be read"):
        AudioReader(tmp_path / "x.raw")


# ----------------------------------------------------------------------------------- kept apart


def test_an_output_is_none_of_the_inputs(tmp_path: Path) -> None:
    voice = tmp_path / "me.wav"
    voice.write_bytes(b"precious")
    (tmp_path / "soft.wav").symlink_to("me.wav")
    os.link(voice, tmp_path / "hard.wav")
    (tmp_path / "folder").symlink_to(tmp_path)
    for output in ("me.wav", "soft.wav", "hard.wav", "folder/me.wav"):
        with pytest.raises(UsageError, match="would replace the file that is read"):
            keep_apart([tmp_path / output], [None, voice])
    with pytest.raises(UsageError, match="written twice"):
        keep_apart([tmp_path / "new.wav", tmp_path / "folder" / "new.wav"], [voice])
    keep_apart([Path("/dev/null"), None, Path("-")], [Path("/dev/null"), voice, Path("-")])


def test_standard_input_is_an_input_too(tmp_path: Path) -> None:
    me = tmp_path / "me.wav"
    me.write_bytes(HELLO.read_bytes())
    for words in (["encode", "-", "me.wav"], ["decode", "-", "me.wav"]):
        with me.open("rb") as given:
            done = subprocess.run(
                [sys.executable, "-m", "clients.cli", *words],
                stdin=given, capture_output=True, cwd=tmp_path, timeout=60,
            )  # fmt: skip
        assert done.returncode == 2 and b"would replace the file that is read" in done.stderr
    assert me.read_bytes() == HELLO.read_bytes()


def test_codes_do_not_go_into_a_file_named_like_sound(tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_bytes(b"precious")
    with pytest.raises(UsageError, match="named like sound"):
        encode_file(HELLO, tmp_path / "other.wav", layers=6, model=None)
    assert (tmp_path / "other.wav").read_bytes() == b"precious"


def test_permission_and_read_only_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no folder"):
        files.need_writable(tmp_path / "no" / "x")
    with pytest.raises(FileError, match="it is a folder"):
        files.need_writable(tmp_path)
    with pytest.raises(FileError, match="cannot write into the folder"):
        files.need_folder(Path("/proc/no-such-folder"))


def test_ctrl_c_while_torch_loads_numpy_is_not_lost() -> None:
    """Torch imports numpy by itself and goes on without it when that fails."""
    program = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "  def find_spec(self, name, path=None, target=None):\n"
        "    if name == 'numpy._core._add_newdocs': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from clients.cli import main\n"
        "sys.exit(main(['bench', 'step', '--batch', '1', '--hops', '1', '--quick']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
