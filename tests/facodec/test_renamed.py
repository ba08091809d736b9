"""Old names of modules: they import, say so, and are the modules of the new names."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.machinery import PathFinder

import pytest

from facodec import renamed


@pytest.mark.parametrize("old", renamed.MOVED)
def test_an_old_name_imports_the_new_module_with_a_warning(
    old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, old, raising=False)
    new = renamed.MOVED[old]
    with pytest.warns(DeprecationWarning, match=f"^{old} is now {new}$"):
        assert import_module(old) is import_module(new)


@pytest.mark.parametrize("old", renamed.MOVED)
def test_an_old_name_hides_no_module(old: str) -> None:
    package = import_module(old.partition(".")[0])
    assert PathFinder.find_spec(old, package.__path__) is None


def test_modules_of_a_package_that_was_moved_are_not_loaded_twice() -> None:
    with pytest.warns(DeprecationWarning):
        states = import_module("facodec.fast.states")
    assert states is import_module("facodec.bundled.steps.states")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("clients.library.connection", "AudioPacket", "clients.library.packets.AudioPacket"),
        ("streaming.wire.session", "Session", "streaming.wire.session.ServerSession"),
        ("streaming.server", "Server", "streaming.server.listening.Server"),
        ("streaming.server", "run", "streaming.server.listening.run"),
        ("streaming.engine", "Engine", "streaming.engine.engine.Engine"),
        ("streaming.engine", "Outcome", "streaming.engine.streams.Outcome"),
        ("streaming.engine", "Stream", "streaming.engine.streams.Stream"),
        ("streaming.playout", "PlayoutBuffer", "streaming.playout.buffer.PlayoutBuffer"),
        ("streaming.playout", "PlayoutCounters", "streaming.playout.buffer.PlayoutCounters"),
        ("streaming.playout", "PlayoutSettings", "streaming.playout.buffer.PlayoutSettings"),
        ("streaming.playout", "lengthen", "streaming.playout.splices.lengthen"),
        ("streaming.playout", "shorten", "streaming.playout.splices.shorten"),
        ("clients.errors", "AudioFileError", "facodec.files.FileError"),
        ("clients.library.connection", "MAX_PACKETS", "clients.library.session.MAX_PACKETS"),
    ],
)
def test_an_old_name_in_a_module_is_the_new_one(module: str, old: str, new: str) -> None:
    home, _, name = new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"^{module}.{old} is now {new}$"):
        found = getattr(import_module(module), old)
    assert found is getattr(import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = import_module(module).nothing


def test_an_old_name_is_told_where_it_is_imported() -> None:
    program = (
        "from facodec import reading\nfrom facodec.reading import read_audio\nreading.read_audio"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    (line,) = (line for line in done.stderr.splitlines() if "Warning" in line)
    assert line == "<string>:1: DeprecationWarning: facodec.reading is now facodec.sound.reading"


def test_a_module_that_became_a_package_keeps_its_names() -> None:
    program = "from streaming.server import Server, listening\nassert Server is listening.Server"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program], capture_output=True, text=True, check=True
    )
    assert "<string>:1: DeprecationWarning: streaming.server.Server is now" in done.stderr
