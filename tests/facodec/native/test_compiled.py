"""The door that compiled code comes in by: only what this user made, made anew where it broke."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facodec.folders import base_directory, private_folder
from facodec.native import compiled
from tests.conftest import ROOT, missing

SOURCE = "int answer(void) { return 42; }\n"
EVIL = "int answer(void) { return 13; }\n__attribute__((constructor)) void run(void) { %s }\n"
MARK = '__builtin_printf("run\\n"); __builtin_abort();'


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache."""
    if not (shutil.which("cc") or shutil.which("gcc")):
        missing("a C compiler")
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiled.library.cache_clear()
    yield tmp_path / "cache" / "facodec" / "native"
    compiled.library.cache_clear()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "small.c").write_text(SOURCE)
    return folder


def answer(folder: Path) -> int:
    """As a new process would find it."""
    compiled.library.cache_clear()
    library = compiled.library(folder)
    assert isinstance(library, ctypes.CDLL)
    return int(library.answer())


def kept(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def built_elsewhere(tmp_path: Path, source: str) -> bytes:
    (tmp_path / "other.c").write_text(source)
    made = tmp_path / "other.so"
    command = ["cc", "-shared", "-fPIC", "-o", str(made), str(tmp_path / "other.c")]
    subprocess.run(command, check=True)
    return made.read_bytes()


def test_it_is_compiled_once_and_for_this_user_alone(
    sources: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="facodec")
    assert answer(sources) == 42
    assert "compiling the C code of small, once" in caplog.text
    caplog.clear()
    assert stat.S_IMODE(kept(own_cache).stat().st_mode) == 0o600
    for folder in (own_cache, own_cache.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = kept(own_cache).stat().st_ino
    assert answer(sources) == 42
    assert kept(own_cache).stat().st_ino == before
    assert not caplog.records


def test_other_flags_make_another_library(
    sources: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(sources) == 42
    monkeypatch.setenv(compiled.EXTRA_FLAGS, "-Danswer=first")
    compiled.library.cache_clear()
    library = compiled.library(sources)
    assert library is not None and library.first() == 42
    assert len(list(own_cache.iterdir())) == 2


def put_in_place(path: Path, content: bytes) -> None:
    """Another file of this name: this process has the old one mapped, and still runs its end."""
    path.unlink()
    path.write_bytes(content)


def spoil_contents(path: Path, evil: bytes) -> None:
    put_in_place(path, evil)


def spoil_end(path: Path, evil: bytes) -> None:
    put_in_place(path, path.read_bytes()[:1000])


def spoil_mode(path: Path, evil: bytes) -> None:
    path.chmod(0o777)


def spoil_link(path: Path, evil: bytes) -> None:
    target = path.parents[3] / "evil.so"
    target.write_bytes(evil)
    path.unlink()
    path.symlink_to(target)


def spoil_owner(path: Path, evil: bytes) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, 65534, -1)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (spoil_contents, "is not what was compiled"),
        (spoil_end, "is not what was compiled"),
        (spoil_mode, r"can be written by others (mode 0777)"),
        (spoil_link, "is no plain file"),
        (spoil_owner, "belongs to another user"),
    ],
)
def test_what_is_broken_or_foreign_is_not_run_but_made_anew(
    sources: Path,
    own_cache: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: object,
    why: str,
) -> None:
    assert answer(sources) == 42
    good = kept(own_cache).read_bytes()
    spoil(kept(own_cache), built_elsewhere(tmp_path, EVIL % MARK))  # type: ignore[operator]
    assert answer(sources) == 42
    assert why in caplog.text and "deleted" in caplog.text
    path = kept(own_cache)
    assert not path.is_symlink() and path.read_bytes() == good
    assert path.stat().st_uid == os.geteuid() and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_library_under_a_name_of_its_own_hash_is_run_only_from_a_private_folder(
    sources: Path, own_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Others who could write to the folder could also give a file the right name."""
    assert answer(sources) == 42
    evil = built_elsewhere(tmp_path, EVIL % MARK)
    (tmp_path / "evil").write_bytes(evil)
    prefix = kept(own_cache).name.rsplit("-", 1)[0]
    kept(own_cache).rename(own_cache / f"{prefix}-{compiled._hash(tmp_path / 'evil')}.so")
    put_in_place(kept(own_cache), evil)
    own_cache.chmod(0o777)
    assert answer(sources) == 42
    assert "could be written by others: emptied" in caplog.text
    assert stat.S_IMODE(own_cache.stat().st_mode) == 0o700
    assert kept(own_cache).read_bytes() != evil


def test_a_folder_that_is_a_link_is_not_used(
    sources: Path, own_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "foreign").mkdir()
    own_cache.parent.mkdir(parents=True)
    own_cache.symlink_to(tmp_path / "foreign")
    assert answer(sources) == 42
    assert "cannot be kept" in caplog.text and "is a link" in caplog.text
    assert not list((tmp_path / "foreign").iterdir())


def test_a_folder_above_that_others_can_exchange_is_not_used(
    sources: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    above = own_cache.parents[1]
    above.mkdir()
    above.chmod(0o777)
    assert answer(sources) == 42
    assert f"{above} can be written by others" in caplog.text
    assert not list(above.iterdir())
    above.chmod(0o1777)  # sticky: like /tmp
    assert private_folder("native") == own_cache


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_folder_above_that_a_shared_group_can_exchange_is_not_used(
    sources: Path,
    own_cache: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    above = own_cache.parents[1]
    above.mkdir()
    above.chmod(0o770)
    assert private_folder("native") == own_cache  # a group of the user's own
    own_cache.rmdir()
    own_cache.parent.rmdir()
    for shared in (100, 54321):  # one named otherwise, one without a name
        os.chown(above, -1, shared)
        monkeypatch.setattr(os, "getegid", lambda shared=shared: shared)
        caplog.clear()
        assert answer(sources) == 42
        assert f"{above} can be written by others" in caplog.text
        assert not list(above.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_folder_of_another_user_is_not_used(
    sources: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert answer(sources) == 42
    os.chown(own_cache, 65534, -1)
    assert answer(sources) == 42
    assert "belongs to another user" in caplog.text


def test_a_cache_that_cannot_be_is_no_reason_to_go_without(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert answer(sources) == 42
    assert "cannot be kept, so each start compiles it anew" in caplog.text


def test_a_full_disk_is_told_before_it_is_compiled_there(
    sources: Path,
    own_cache: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled, "ROOM", 1 << 62)
    assert answer(sources) == 42
    assert f"no compiled code from {own_cache}" in caplog.text
    assert "temporary folder: the disk is full" in caplog.text and not list(own_cache.iterdir())


def test_a_user_without_name_and_home_has_no_cache_and_is_told(
    sources: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nobody(uid: int) -> object:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    assert answer(sources) == 42
    assert "this user has no home directory" in caplog.text


def test_relative_directories_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert base_directory("XDG_CACHE_HOME", ".cache") == tmp_path / "home" / ".cache"
    monkeypatch.setenv("HOME", "home")
    with pytest.raises(OSError, match="expected an absolute home directory, got 'home'"):
        base_directory("XDG_CACHE_HOME", ".cache")


@pytest.mark.parametrize(
    ("compiler", "why"),
    [("/no/such/compiler", "/no/such/compiler"), ("false", "false failed: no word")],
)
def test_a_compiler_that_does_not_work_is_named(
    sources: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    compiler: str,
    why: str,
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert compiled.library(sources) is None
    (last,) = (r.message for r in caplog.records[-1:])
    assert last.startswith("small goes without compiled code, which is slower: ") and why in last


def test_a_compiler_may_be_several_words(
    sources: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", f"env -u NOTHING {compiled.compiler()}")
    assert answer(sources) == 42


def test_an_error_in_the_source_is_told(
    sources: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (sources / "small.c").write_text("int answer(void) { return nothing; }\n")
    assert compiled.library(sources) is None
    assert "slower: " in caplog.text and "nothing" in caplog.records[-1].message
    assert not list(own_cache.iterdir())


def test_no_compiler_is_told(
    sources: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert compiled.library(sources) is None
    assert "slower: no C compiler was found" in caplog.text


def test_first_starts_at_the_same_time(sources: Path, own_cache: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from facodec.native import compiled; "
        "sys.stdin.readline(); print(compiled.library(Path(sys.argv[1])).answer())"
    )
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(sources)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for _ in range(3)
    ]  # fmt: skip
    for start in starts:  # all are there before the first compiles
        assert start.stdin is not None
        start.stdin.write("go\n")
        start.stdin.flush()
    assert [start.communicate(timeout=120)[0] for start in starts] == ["42\n"] * 3
    assert all(path.suffix == ".so" for path in own_cache.iterdir())
    assert answer(sources) == 42
