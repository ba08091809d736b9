"""Voices by name: saved, bundled, damaged, and what a recording is."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clients.errors import ClientError, UsageError
from clients.offline import voicebook as voices
from clients.offline.voicebook import Profiles
from facodec.identity import ModelIdentity, belonging, model_of
from facodec.reasons import FileError
from streaming.server.known_voices import Voices

LIVE = ModelIdentity("live", "0123456789ab")
TIMBRE = belonging(np.linspace(-1, 1, 256).astype(np.float32), LIVE)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_a_profile_is_saved_found_listed_and_removed(config: Path) -> None:
    profiles = Profiles()
    assert profiles.list() == []
    saved = profiles.add("anna", TIMBRE, source="anna.wav")
    assert saved.path == config / "facodec" / "voices" / "anna.voice"
    found = profiles.find("anna")
    assert found is not None and (found.model, found.source) == (LIVE, "anna.wav")
    np.testing.assert_array_equal(found.timbre(), TIMBRE)
    assert [profile.name for profile in profiles.list()] == ["anna"]
    profiles.remove("anna")
    assert profiles.list() == [] and not list(saved.path.parent.iterdir())


def test_without_a_home_there_are_no_saved_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> object:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert Profiles().list() == [] and Profiles().find("anna") is None
    with pytest.raises(ClientError, match=r"expected a home or \$XDG_CONFIG_HOME"):
        Profiles().add("anna", TIMBRE, source="anna.wav")


def test_a_server_reads_the_same_folder(config: Path) -> None:
    Profiles().add("anna", TIMBRE, source="anna.wav")
    known = Voices(str(voices.user_folder()))
    found = known.find("anna", {}, LIVE)
    assert found is not None
    np.testing.assert_array_equal(found, TIMBRE)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 65, "a.wav", "none", "None"])
def test_names_that_are_none(config: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a voice"):
        Profiles().add(name, TIMBRE, source="")


def test_removing_what_is_not_there_lists_what_is(config: Path) -> None:
    Profiles().add("anna", TIMBRE, source="")
    with pytest.raises(UsageError, match="no saved voice 'bob'; saved are: anna"):
        Profiles().remove("bob")


def test_a_damaged_profile_says_so(config: Path) -> None:
    saved = Profiles().add("anna", TIMBRE, source="")
    saved.path.write_bytes(b"short")
    with pytest.raises(FileError, match="is damaged"):
        saved.timbre()


def test_damaged_notes_keep_nobody_from_a_voice(config: Path) -> None:
    saved = Profiles().add("anna", TIMBRE, source="a.wav")
    saved.path.with_suffix(".json").write_text("{")
    (found,) = Profiles().list()
    assert (found.model, found.source) == (LIVE, "(its notes are damaged)")
    Profiles().add("anna", -TIMBRE, source="b.wav", replace=True)
    saved.path.with_suffix(".json").write_text("{")
    Profiles().remove("anna")
    assert not list(saved.path.parent.iterdir())


def test_a_pipe_in_the_folder_is_not_waited_for(config: Path) -> None:
    folder = Profiles().add("anna", TIMBRE, source="").path.parent
    os.mkfifo(folder / "pipe.voice")
    with pytest.raises(FileError, match=r"pipe\.voice is a pipe, not a file"):
        Profiles().list()[1].timbre()
    with pytest.raises(FileError, match=r"pipe\.voice is a pipe, not a file"):
        Voices(str(folder))


def test_files_and_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    assert voices.is_file("here") and voices.is_file("me.wav") and voices.is_file("a/b")
    assert not voices.is_file("anna")


def test_a_saved_voice_is_replaced_only_when_asked(config: Path) -> None:
    profiles = Profiles()
    profiles.add("anna", TIMBRE, source="a.wav")
    with pytest.raises(UsageError, match="'anna' already: --replace replaces it"):
        profiles.add("anna", -TIMBRE, source="b.wav")
    profiles.add("anna", -TIMBRE, source="b.wav", replace=True)
    (found,) = profiles.list()
    np.testing.assert_array_equal(found.timbre(), -TIMBRE)
    assert found.source == "b.wav"


def test_a_full_disk_does_not_destroy_the_old_voice(config: Path) -> None:
    Profiles().add("anna", TIMBRE, source="a.wav")
    program = (
        "import numpy as np; from clients.offline.voicebook import Profiles\n"
        "from facodec.files import *\n"
        "try: Profiles().add('anna', np.zeros(256), source='', replace=True)\n"
        "except FileError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)),
    )  # fmt: skip
    assert "cannot write" in done.stdout and "anna.voice" in done.stdout, done.stderr
    (found,) = Profiles().list()
    np.testing.assert_array_equal(found.timbre(), TIMBRE)
    assert found.source == "a.wav"
    assert len(list(found.path.parent.iterdir())) == 2


def test_letters_of_any_script_name_a_voice(config: Path) -> None:
    for name in ("jörg", "Ключ", "名前", "2pac", "josé-maria_3", "हिन्दी"):
        Profiles().add(name, TIMBRE, source="")
        assert Profiles().find(name) is not None and not voices.is_file(name)
    assert Profiles().find("jo\u0308rg") is not None  # the same letters, composed otherwise
    for name in ("_x", "-x", "a\u202eb", "x\0", "名" * 70, "a\ufe0f", "a\u200d", "\udcff"):
        with pytest.raises(UsageError, match="cannot name a voice"):
            Profiles().add(name, TIMBRE, source="")


def test_what_hides_a_bundled_voice_is_told(config: Path) -> None:
    assert voices.shadowed("anna") is None
    for name in ("slt", "hazel"):
        assert "now hides the bundled voice" in str(voices.shadowed(name))
    (config / "voices.json").write_text('{"anna": {}}')
    assert "the one that comes with" in str(voices.shadowed("anna", str(config)))
    assert voices.shadowed("anna", "live") is None


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/proc/nowhere")
    with pytest.raises(FileError, match="cannot write into the folder"):
        Profiles().check_new("anna", replace=False)


def test_a_folder_that_cannot_be_read_is_told_once_and_done_without(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As another's home is, that the environment still names."""
    (config / "facodec").symlink_to("facodec")
    found = Profiles()
    assert found.find("anna") is None and found.list() == [] and found.names() == []
    told = capsys.readouterr().err
    assert told.count("no saved voice is used") == 1 and "its links lead in a circle" in told


def test_notes_that_are_none(config: Path) -> None:
    """A voice that does not say its model itself is asked for it in its notes."""
    saved = Profiles().add("anna", np.asarray(TIMBRE), source="")
    saved.path.write_bytes(saved.path.read_bytes()[:1024])
    for text in ("[1]", "{", "[" * 100_000):
        saved.path.with_suffix(".json").write_text(text)
        (found,) = Profiles().list()
        assert found.source == "(its notes are damaged)"
        with pytest.raises(FileError, match=r"is damaged|is too large"):
            found.timbre()


def test_a_profile_is_its_numbers_and_then_its_model(config: Path) -> None:
    saved = Profiles().add("anna", TIMBRE, source="")
    assert saved.path.read_bytes() == TIMBRE.astype("<f4").tobytes() + b"live@0123456789ab"
    assert model_of(saved.timbre()) == LIVE


@pytest.mark.parametrize(
    ("notes", "model", "told"),
    [
        ('{"model": "ns3"}', ModelIdentity("ns3"), "which model named 'ns3' it was made with"),
        ('{"source": "a.wav"}', None, "which model it was made with"),
        ('{"model": "../no name"}', None, "which model it was made with"),
        (None, None, "which model it was made with"),
    ],
)
def test_older_profiles_are_read_and_what_is_assumed_is_told(
    notes: str | None, model: ModelIdentity | None, told: str, config: Path
) -> None:
    saved = Profiles().add("anna", np.asarray(TIMBRE), source="")
    assert saved.path.stat().st_size == 1024
    beside = saved.path.with_suffix(".json")
    beside.unlink() if notes is None else beside.write_text(notes)
    sentences: list[str] = []
    found = Profiles().list()[0].timbre_to_use(sentences.append)
    assert model_of(found) == model
    assert len(sentences) == 1 and told in sentences[0] and "taken to be that" in sentences[0]


@pytest.mark.parametrize("tail", [b"live@", b"live@0123456789AB", b"\xff", b"x" * 65, b"x" * 99])
def test_a_profile_whose_model_is_damaged_says_so(config: Path, tail: bytes) -> None:
    saved = Profiles().add("anna", np.asarray(TIMBRE), source="")
    saved.path.write_bytes(saved.path.read_bytes() + tail)
    with pytest.raises(FileError, match=r"anna\.voice"):
        saved.timbre()
