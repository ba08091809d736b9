"""Voices by name: saved, bundled, damaged, and what a recording is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clients import voices
from clients.errors import ClientError, UsageError
from clients.voices import Profiles
from streaming.voices import Voices

TIMBRE = np.linspace(-1, 1, 256).astype(np.float32)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_a_profile_is_saved_found_listed_and_removed(config: Path) -> None:
    profiles = Profiles()
    assert profiles.list() == []
    saved = profiles.add("anna", TIMBRE, model="live", source="anna.wav")
    assert saved.path == config / "facodec" / "voices" / "anna.voice"
    found = profiles.find("anna")
    assert found is not None and (found.model, found.source) == ("live", "anna.wav")
    np.testing.assert_array_equal(found.timbre(), TIMBRE)
    assert [profile.name for profile in profiles.list()] == ["anna"]
    profiles.remove("anna")
    assert profiles.list() == [] and not list(saved.path.parent.iterdir())


def test_a_server_reads_the_same_folder(config: Path) -> None:
    Profiles().add("anna", TIMBRE, model="live", source="anna.wav")
    known = Voices(str(voices.user_folder()))
    found = known.find("anna", {})
    assert found is not None
    np.testing.assert_array_equal(found, TIMBRE)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 65, "a.wav"])
def test_names_that_are_none(config: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a voice"):
        Profiles().add(name, TIMBRE, model="", source="")


def test_removing_what_is_not_there_lists_what_is(config: Path) -> None:
    Profiles().add("anna", TIMBRE, model="live", source="")
    with pytest.raises(UsageError, match="no saved voice 'bob'; saved are: anna"):
        Profiles().remove("bob")


def test_a_damaged_profile_says_so(config: Path) -> None:
    saved = Profiles().add("anna", TIMBRE, model="live", source="")
    saved.path.write_bytes(b"short")
    with pytest.raises(ClientError, match="is damaged"):
        saved.timbre()
    saved.path.with_suffix(".json").write_text("{")
    with pytest.raises(ClientError, match="is damaged"):
        Profiles().list()


def test_files_and_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    assert voices.is_file("here") and voices.is_file("me.wav") and voices.is_file("a/b")
    assert not voices.is_file("anna")


