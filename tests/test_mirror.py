"""The laws of the tests: folders mirror the rooms, every module has tests, and nothing is looked
for outside the repository. ``python -m tests.breaking`` shows that the tests of a module notice it
where it is broken."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from clients.cli import COMMANDS, module_of
from tests.test_architecture import (
    FLOORS,
    ROOT,
    arrows,
    imports_of,
    is_in,
    modules,
    room,
    strings,
    tree,
)

TESTS = ROOT / "tests"
MAKES_SPEECH = "benchmarks.speech"
"""A room of a higher floor that tests may use: it finds, makes and judges speech."""
OUTSIDE = {"FACODEC_SPEECH", "FACODEC_TESTS_REQUIRE_ALL", "FACODEC_TEST_THREADS"}
"""Variables that tests read: where speech is, whether anything may be skipped, threads."""
TESTED_THROUGH: dict[str, str] = {
    "facodec.inputs": "tests/facodec/test_codec.py",
    "benchmarks.attacks.recordings": "tests/benchmarks/parts/test_fuzz.py",
    "facodec.arrays": "tests/facodec/test_codec.py",
    "facodec.streams.converter": "tests/facodec/streams/test_conversion.py",
    "clients.offline.verify": "tests/system/test_bundled_model.py",
    "clients.session.demo": "tests/system/test_cli_files.py",
    "clients.session.top": "tests/system/test_keys.py",
    "facodec.lazy": "tests/test_packages.py",
    "benchmarks.load.spoken": "tests/benchmarks/parts/test_wire_bench.py",
    "benchmarks.kit.plots": "tests/benchmarks/report/test_report_bench.py",
}
"""Modules that no test imports, nor another module of their room that one imports: the tests that
fail where they are broken."""


def python_files() -> list[Path]:
    return sorted(TESTS.rglob("*.py"))


def is_test(path: Path) -> bool:
    return path.name.startswith("test_")


@cache
def imports_of_tests() -> dict[Path, frozenset[str]]:
    """Modules of the house that each file below tests/ imports."""
    return {path: frozenset(imports_of(path)) & modules().keys() for path in python_files()}


def place(path: Path) -> str:
    """The room that a file of tests is for, as a dotted name; "" for a file of all rooms."""
    folder = ".".join(path.relative_to(TESTS).parts[:-1])
    return folder if folder.split(".")[0] in FLOORS else ""


def noticing(module: str) -> set[Path]:
    """Files of tests that have to notice where a module is broken.

    They import it. Failing that, they call it by its name, as commands and the benchmarks' parts
    are; or they import a module of its room that leads to it; or they are listed."""
    if module in TESTED_THROUGH:
        return {ROOT / TESTED_THROUGH[module]}
    return _importing({module}) or _naming(module) or _importing(_around(module))


def _importing(wanted: set[str]) -> set[Path]:
    return {path for path, found in imports_of_tests().items() if wanted & found and is_test(path)}


def _around(module: str) -> set[str]:
    """Modules of its room that lead to it by imports within the room."""
    inside = {(one, other) for one, other in arrows() if room(one) == room(other) == room(module)}
    found, before = {module}, set[str]()
    while found != before:
        before = found
        found = before | {one for one, other in inside if other in before}
    return found - {module}


def _naming(module: str) -> set[Path]:
    names = {name for name in COMMANDS if module_of(name) == module}
    if is_in(module, ["benchmarks.parts"]):
        names = {module.rpartition(".")[2]}
    called = "bench" if is_in(module, ["benchmarks.parts"]) else ""
    return {
        path
        for path in python_files()
        if is_test(path) and names & strings(path) and {called} <= strings(path) | {""}
    }


def working_modules() -> list[str]:
    """Every module but the faces of packages, which ``test_packages`` is for."""
    return sorted(name for name, path in modules().items() if path.name != "__init__.py")


def test_every_module_has_tests() -> None:
    assert [name for name in working_modules() if not noticing(name)] == []


@pytest.mark.parametrize("module", TESTED_THROUGH)
def test_what_is_listed_as_tested_through_others_is(module: str) -> None:
    assert module in modules() and (ROOT / TESTED_THROUGH[module]).is_file()
    found = _importing({module}) | _naming(module) | _importing(_around(module))
    assert not found, f"no need to list {module}: {found}"


def test_folders_mirror_the_rooms() -> None:
    rooms = {name.rpartition(".")[0] for name in modules()}
    for path in python_files():
        if place(path) and is_test(path):
            assert place(path) in rooms, f"{path}: no room {place(path)}"
            used = {name for name in imports_of_tests()[path] if is_in(name, [place(path)])}
            assert used, f"{path} imports nothing of {place(path)}"


def test_tests_of_a_room_know_no_higher_floor() -> None:
    for path, found in imports_of_tests().items():
        if place(path):
            height = FLOORS.index(place(path).split(".")[0])
            above = {name for name in found if FLOORS.index(name.split(".")[0]) > height}
            assert all(is_in(name, [MAKES_SPEECH]) for name in above), f"{path}: {above}"


def test_tests_look_at_nothing_outside_the_repository() -> None:
    for path in python_files():
        text = path.read_text(encoding="utf-8")
        for levels in re.findall(r"__file__\)\.parents\[(\d+)\]", text):
            assert path.parents[int(levels)].is_relative_to(ROOT), path
        for name in re.findall(r"FACODEC_(?:SPEECH|TEST)\w*", text):
            assert name in OUTSIDE, f"{path}: {name}"
        looked = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
        assert not looked & {"home", "expanduser", "getcwd", "cwd"}, path


@pytest.mark.parametrize(
    ("module", "use"),
    [
        ("facodec.bitstream", "from facodec.bitstream import pack; pack(None)"),
        ("clients.library.packets", "import clients.library.packets"),
    ],
)
def test_a_module_is_broken_on_purpose(module: str, use: str) -> None:
    program = f"from tests.breaking import install; install({module!r}); {use}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: broken on purpose\n")
