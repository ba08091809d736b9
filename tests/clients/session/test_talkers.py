"""The last talker at a microphone: kept whole, found again, never another model's."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from clients.audio.endpoints import FileSource, Source
from clients.audio.microphone import Microphone
from clients.errors import ServerError
from clients.session.talkers import MOST, RememberedTalkers, SourceTalker, state_folder
from facodec.identity import ModelIdentity, ModelMismatch, belonging, model_of

HELLO = Path(__file__).parents[2] / "data" / "hello.flac"
OURS = ModelIdentity.parse("live@0123456789ab")
OTHER = ModelIdentity.parse("ns3@ba9876543210")


def timbre(value: float, model: ModelIdentity | None = OURS) -> np.ndarray:
    return belonging(np.full(256, value, np.float32), model)


def microphone(name: str) -> Source:
    """Stand for a microphone as a talker is told of one, without opening a device."""
    source = Microphone.__new__(Microphone)
    source._shape = type("Shape", (), {"name": name})()  # type: ignore[assignment]
    return source


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "facodec" / "talkers"


@pytest.fixture
def memory(folder: Path, said: list[str]) -> RememberedTalkers:
    return RememberedTalkers(said.append, folder)


def test_the_last_talker_of_each_microphone_and_model_is_kept(
    memory: RememberedTalkers, folder: Path, said: list[str]
) -> None:
    for value in (0.1, 0.2):
        memory.keep("Headset (usb)/ö", timbre(value))
    memory.keep("Headset (usb)/ö", timbre(0.3, OTHER))
    memory.keep("built in", timbre(0.4))
    (found,) = memory.find("Headset (usb)/ö", OURS)
    assert model_of(found) == OURS and np.array_equal(found, timbre(0.2))
    (found,) = memory.find("Headset (usb)/ö", ModelIdentity("ns3"))
    assert model_of(found) == OTHER
    assert len(memory.find("Headset (usb)/ö", None)) == 2
    assert not memory.find("another", None)
    assert not memory.find("built in", ModelIdentity.parse("live@ffffffffffff"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = [path.name for path in folder.iterdir()]
    assert len(names) == 3 and not any("usb" in name for name in names), "whole files alone"
    assert said == []


def test_the_newest_come_first_and_few(memory: RememberedTalkers, folder: Path) -> None:
    for i in range(MOST + 2):
        memory.keep("built in", timbre(i, ModelIdentity("live", f"{i:012x}")))
    for path in folder.iterdir():
        age = int(path.stem[-12:], 16)
        os.utime(path, (age, age))
    found = [float(each[0]) for each in memory.find("built in", None)]
    assert found == [MOST + 1, MOST, MOST - 1]


def test_a_talker_of_a_model_without_weights_is_not_kept(
    memory: RememberedTalkers, folder: Path
) -> None:
    for model in (None, ModelIdentity("live")):
        memory.keep("built in", timbre(0.1, model))
    assert not folder.exists()


@pytest.mark.parametrize("content", [b"", b"\xff" * 1024, bytes(1000), bytes(1024) + b"live@0"])
def test_a_damaged_file_is_ignored_with_a_sentence(
    content: bytes, memory: RememberedTalkers, folder: Path, said: list[str]
) -> None:
    memory.keep("built in", timbre(0.1))
    (path,) = folder.iterdir()
    path.write_bytes(content)
    assert memory.find("built in", None) == []
    (sentence,) = said
    assert "is ignored" in sentence and path.name in sentence
    memory.keep("built in", timbre(0.2))
    assert len(memory.find("built in", None)) == 1, "the next session mends it"


def test_a_file_whose_content_is_of_another_model_is_not_used(
    memory: RememberedTalkers, folder: Path
) -> None:
    memory.keep("built in", timbre(0.1))
    memory.keep("other", timbre(0.2, OTHER))
    ours, theirs = sorted(folder.iterdir(), key=lambda path: "ns3" in path.name)
    ours.write_bytes(theirs.read_bytes())
    assert memory.find("built in", OURS) == []


def test_what_cannot_be_written_leaves_the_old_and_says_so(
    memory: RememberedTalkers, folder: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.keep("built in", timbre(0.1))

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        memory.keep("built in", timbre(0.2))
    assert len(said) == 1 and "not remembered" in said[0] and "the disk is full" in said[0]
    assert np.array_equal(memory.find("built in", OURS)[0], timbre(0.1))
    assert len(list(folder.iterdir())) == 1


def test_a_state_folder_that_is_a_file_is_no_reason_to_stop(
    tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "file").write_text("x")
    memory = RememberedTalkers(said.append, tmp_path / "file" / "talkers")
    assert memory.find("built in", None) == []
    memory.keep("built in", timbre(0.1))
    assert "not remembered" in said[-1]


def test_the_state_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "facodec" / "talkers"


def test_only_a_microphone_has_a_memory(memory: RememberedTalkers, folder: Path) -> None:
    talker = SourceTalker(memory=memory)
    source = FileSource(HELLO, fast=True)
    talker.meet(source)
    talker.heard(timbre(0.1))
    source.close()
    assert not folder.exists()
    talker.meet(microphone("built in"))
    talker.heard(None)
    assert not folder.exists()
    talker.heard(timbre(0.1))
    assert len(list(folder.iterdir())) == 1


def test_a_session_begins_with_the_last_talker_and_says_so(
    memory: RememberedTalkers, said: list[str]
) -> None:
    memory.keep("built in", timbre(0.1))
    talker = SourceTalker(memory=memory, model=OURS, tell=said.append)
    assert talker.for_server is None
    talker.meet(microphone("built in"))
    assert np.array_equal(talker.for_server, timbre(0.1))  # type: ignore[arg-type]
    assert talker.for_encoder is None
    assert len(said) == 1 and "--talker none" in said[0]
    here = SourceTalker(memory=memory, model=OURS, encodes=True)
    here.meet(microphone("built in"))
    assert np.array_equal(here.for_encoder, timbre(0.1))  # type: ignore[arg-type]
    assert here.for_server is None


def test_a_talker_who_was_named_outranks_the_one_remembered(memory: RememberedTalkers) -> None:
    memory.keep("built in", timbre(0.1))
    talker = SourceTalker("anna", memory)
    talker.meet(microphone("built in"))
    assert (talker.for_server, talker.for_encoder) == ("anna", None)


@pytest.mark.parametrize(
    "error", [ServerError("model-mismatch", "the voice was"), ModelMismatch("the voice was")]
)
def test_a_remembered_talker_of_another_model_is_left_out(
    error: Exception, memory: RememberedTalkers
) -> None:
    """The server's model shows in its answer alone: then it is tried without him."""
    memory.keep("built in", timbre(0.1))
    memory.keep("built in", timbre(0.2, OTHER))
    talker = SourceTalker(memory=memory)
    talker.meet(microphone("built in"))
    tried: list[object] = []

    async def connect() -> None:
        tried.append(talker.for_server)
        if talker.for_server is not None:
            raise error

    asyncio.run(talker.attempt(connect))
    assert len(tried) == 3 and tried[-1] is None


def test_other_errors_are_not_tried_again(memory: RememberedTalkers) -> None:
    memory.keep("built in", timbre(0.1))
    talker = SourceTalker(memory=memory)
    talker.meet(microphone("built in"))
    for error in (ServerError("unknown-voice", "no"), ValueError("x")):

        async def connect(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)):
            asyncio.run(talker.attempt(connect))
    assert talker.for_server is not None
