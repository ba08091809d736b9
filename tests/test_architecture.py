"""The laws of the house, read from the imports of every module: which floor may know which, no
circles, who may call C, and how long a module may get.

``from a import b`` in a function or for types alone counts as any other: a reader has to follow it.
A law that is broken today has the breach in its list with the reason; one that is no longer there
has to leave the list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[1]
FLOORS = ("facodec", "streaming", "clients", "benchmarks")
"""From the ground up: each may import itself and those before it."""
LONGEST_MODULE = 400
"""Lines."""
C_LIBRARY = "facodec.native.compiled"
"""The door by which compiled code of our own comes in."""
C_CALLERS = (
    "facodec.bundled.steps", "facodec.published.snake", "facodec.link.native",
    "facodec.native.webassembly", "benchmarks.kit.machine",
)  # fmt: skip
"""Rooms that may go through it: the steps in C, the entropy coder's inner loop, what compiles for
pages, and what measures a CPU with a loop of its own."""
OPEN_TO_CLIENTS = ("streaming.playout", "streaming.wire")
"""Rooms of the server that clients may know: the wire and the playout."""

PRIVATES_OF_PYTORCH = {
    "_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported",
}  # fmt: skip
"""Packed products, which have no public name."""
PRIVATES_OF_AIOQUIC = {
    "_datagrams_pending", "_remote_max_datagram_frame_size", "_streams", "_spaces", "_buffer",
}  # fmt: skip
"""Datagrams that wait, those that the other end takes, packets that were not acknowledged, and what
of a stream waits at either end."""
PRIVATES = PRIVATES_OF_PYTORCH | PRIVATES_OF_AIOQUIC

FILES = "facodec.files"
"""The door by which files are written: aside, and moved when whole."""
WRITES = {"write_text", "write_bytes", "savefig", "savez", "save_file"}
WRITES_OF = {("np", "save"), ("torch", "save"), ("soundfile", "write")}
"""Calls that write a file in its place, where it is not one in memory."""
WRITERS = {
    "facodec.sound.writing": "a clip into memory",
    "facodec.training.corpus": "an array into the door's own file",
    "facodec.training.loop": "a checkpoint into memory; a line at the end of a log",
    "facodec.training.pictures": "a picture into memory",
    "benchmarks.report.charts": "a picture into memory",
    "benchmarks.link.picture": "a picture into memory",
    "clients.standard": "the null device, in place of a standard error that is closed",
    "streaming.server.tls": "beside its place, by a program of others",
    "benchmarks.attacks.alone": "in a temporary folder",
    "benchmarks.attacks.recordings": "in a temporary folder",
    "benchmarks.link.client": "in a temporary folder",
    "benchmarks.link.forward": "in a temporary folder",
    "benchmarks.link.opus": "in a temporary folder",
    "benchmarks.link.runs": "in a temporary folder",
    "benchmarks.load.undisturbed": "in a temporary folder",
    "benchmarks.parts.fuzz": "in a temporary folder, and what failed",
    "benchmarks.peers.tools": "in a temporary folder",
}
"""Modules that write past the door, and why."""

T = TypeVar("T")
Arrow = tuple[str, str]

COMPOSITION_ROOT = "clients.cli"
"""The program: it finds commands by the names of their modules, on whatever floor they lie."""
DIRECTORY = "facodec.renamed"
"""Old names of modules beside the new ones, of all floors."""

ARROWS_UP: dict[Arrow, str] = {}
CLIENTS_IN_THE_SERVER: dict[Arrow, str] = {}
CIRCLES: dict[Arrow, str] = {}
LONG_MODULES: dict[str, str] = {}


@cache
def modules() -> dict[str, Path]:
    """Every module of the packages, by its dotted name."""
    found = {}
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def strings(path: Path) -> frozenset[str]:
    """The strings in a file."""
    constants = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Constant))
    return frozenset(node.value for node in constants if isinstance(node.value, str))


@cache
def imports() -> dict[str, frozenset[str]]:
    """Names in the import statements of each module: modules of the house, and others as they are
    written."""
    return {name: frozenset(imports_of(path)) for name, path in modules().items()}


def imports_of(path: Path) -> Iterable[str]:
    """Yields the names in a file's import statements."""
    for node in _statements(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() else str(node.module)


def _statements(node: ast.AST) -> Iterable[ast.AST]:
    """All below a node, whatever holds them; expressions are passed by."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):
            yield child
            yield from _statements(child)


@cache
def arrows() -> set[Arrow]:
    """(who imports, what) within the house."""
    return {
        (name, other)
        for name, named in imports().items()
        for other in named
        if other in modules() and other != name
    }


def spoken() -> set[Arrow]:
    """(who has its name in a string, module), as what imports by name or starts a process does."""
    return {
        (name, other)
        for name, path in modules().items()
        for other in strings(path) & modules().keys() - {name, *FLOORS}
    }


def room(module: str) -> str:
    """The package below the floor, or the module itself where it lies on the floor."""
    return ".".join(module.split(".")[:2])


def between_rooms(graph: set[Arrow]) -> set[Arrow]:
    return {(room(a), room(b)) for a, b in graph if room(a) != room(b)}


def is_in(module: str, places: Iterable[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def check(breaches: Iterable[T], allowed: Mapping[T, str]) -> None:
    """The law is broken where the list says so, and nowhere else."""
    found, listed = set(breaches), set(allowed)
    assert not found - listed, f"against the law: {found - listed}"
    assert not listed - found, f"listed as a breach, but none any more: {listed - found}"


def circle(graph: set[Arrow]) -> list[str]:
    """A way back to where it began; empty where there is none."""
    after: dict[str, list[str]] = {}
    for one, other in sorted(graph):
        after.setdefault(one, []).append(other)
    done: set[str] = set()
    for start in after:
        way, pending = [start], [iter(after[start])]
        while way:
            following = next(pending[-1], None)
            if following is None:
                done.add(way.pop())
                pending.pop()
            elif following in way:
                return [*way[way.index(following) :], following]
            elif following not in done:
                way.append(following)
                pending.append(iter(after.get(following, ())))
    return []


def runs_up(arrow: Arrow) -> bool:
    one, other = (FLOORS.index(module.split(".")[0]) for module in arrow)
    return other > one


def leads_into_the_server(arrow: Arrow) -> bool:
    one, other = arrow
    inside = is_in(other, ["streaming"]) and not is_in(other, OPEN_TO_CLIENTS)
    return is_in(one, ["clients"]) and inside


def test_arrows_run_down() -> None:
    check(filter(runs_up, arrows()), ARROWS_UP)


def test_clients_know_the_wire_and_the_playout_alone() -> None:
    check(filter(leads_into_the_server, arrows()), CLIENTS_IN_THE_SERVER)


def test_only_the_composition_root_names_modules_that_it_may_not_import() -> None:
    named = (arrow for arrow in spoken() if runs_up(arrow) or leads_into_the_server(arrow))
    assert {one for one, _ in named} == {COMPOSITION_ROOT, DIRECTORY}
    assert [one for one, other in arrows() if other == COMPOSITION_ROOT] == []


def test_no_circle_of_modules_or_rooms() -> None:
    kept = arrows() - set(CIRCLES)
    assert not circle(kept)
    assert not circle(between_rooms(kept))
    for arrow in CIRCLES:
        assert arrow in arrows(), f"listed as a breach, but not there: {arrow}"
        more = kept | {arrow}
        assert circle(more) or circle(between_rooms(more)), f"no circle any more: {arrow}"


def test_only_steps_go_through_the_door_of_c() -> None:
    listeners = {"clients.cli"}  # who is told of compiling
    callers = {one for one, other in arrows() if other == C_LIBRARY} - listeners
    assert [one for one in callers if not is_in(one, C_CALLERS)] == []


def calls(module: ast.Module) -> Iterable[ast.Call]:
    """The calls in a module."""
    return (node for node in ast.walk(module) if isinstance(node, ast.Call))


def writes_in_place(call: ast.Call) -> bool:
    """Whether a call writes to a file by its name."""
    named, modes = call.func, [*call.args, *(given.value for given in call.keywords)]
    opened = any(isinstance(m, ast.Constant) and m.value in ("w", "wb", "a") for m in modes)
    if not isinstance(named, ast.Attribute):
        return isinstance(named, ast.Name) and named.id == "open" and opened
    owner = named.value.id if isinstance(named.value, ast.Name) else ""
    return (
        named.attr in WRITES
        or (owner, named.attr) in WRITES_OF
        or (named.attr == "open" and opened and owner not in ("av", "os"))
    )


def test_files_are_written_through_their_door() -> None:
    found = {
        name for name, path in modules().items() if any(map(writes_in_place, calls(tree(path))))
    }
    check(found - {FILES}, WRITERS)


def test_a_write_past_the_door_is_found() -> None:
    for text in ('p.write_text("x")', 'open(p, "w")', 'p.open("wb")', "np.save(p, a)"):
        assert writes_in_place(next(iter(calls(ast.parse(text)))))
    for text in ('write_text(p, "x")', "open(p)", 'p.open("rb")', "coder.save(p)"):
        assert not writes_in_place(next(iter(calls(ast.parse(text)))))


def test_no_bar_goes_into_a_pipe() -> None:
    bars = {
        (name, call.lineno): {given.arg for given in call.keywords}
        for name, path in modules().items()
        for call in calls(tree(path))
        if isinstance(call.func, ast.Name) and call.func.id == "tqdm"
    }
    assert bars and all("disable" in given for given in bars.values()), bars


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in modules().values()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def foreign_privates(module: ast.Module) -> set[tuple[int, str]]:
    """(line, name) of private attributes that a module takes of others' objects: of none of its
    own classes, and not through ``self`` or ``cls``."""
    nodes = list(ast.walk(module))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    found = set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]\w*[a-z0-9]$", node.attr):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                own.add(node.attr)
            else:
                found.add((node.lineno, node.attr))
    return {(line, name) for line, name in found if name not in own | PRIVATES}


def test_privates_stay_in_their_module() -> None:
    found = {name: foreign_privates(tree(path)) for name, path in modules().items()}
    assert {name: taken for name, taken in found.items() if taken} == {}


def test_a_foreign_private_is_found() -> None:
    own = "class A:\n    def f(self, other):\n        self._x = other._x\n"
    assert foreign_privates(ast.parse(own)) == set()
    assert foreign_privates(ast.parse("engine._queue.clear()")) == {(1, "_queue")}


def test_modules_are_short() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    check((name for name, count in lines.items() if count > LONGEST_MODULE), LONG_MODULES)


def test_the_page_on_the_architecture_lists_these_breaches() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| module | imports | why |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \|", table, re.MULTILINE)
    assert set(rows) == {*ARROWS_UP, *CLIENTS_IN_THE_SERVER, *CIRCLES}
    longer = text.partition("lines. Longer are ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(.+?)`", longer)) == set(LONG_MODULES)


def rows_of_rooms() -> dict[str, str]:
    """Words on what each room knows, by its dotted name."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    found = {}
    for floor, table in re.findall(r"\| room of `(\w+)` (.+?)\n\n", text, re.DOTALL):
        for named, knows in re.findall(r"^\| (.+?) \| .+ \| (.+) \|$", table, re.MULTILINE):
            found |= {f"{floor}.{name}": knows for name in re.findall(r"`(\w+)/?`", named)}
    return found


def test_the_page_on_the_architecture_shows_what_each_room_knows() -> None:
    rows = rows_of_rooms()
    rooms = {room(name) for name in modules() if name not in FLOORS}
    packages = {name for name in rooms if modules()[name].name == "__init__.py"}
    for one, other in between_rooms(arrows()):
        if one in packages and other in packages and "all rooms" not in rows[one]:
            floor, _, name = other.partition(".")
            bare = rf"\b{floor}`?(?:;| \||$)|what a command starts"
            assert re.search(rf"\b{name}\b|{bare}", rows[one]), f"{one} knows {other}"


def test_a_circle_is_found() -> None:
    tree = {("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")}
    assert not circle(tree)
    assert circle(tree | {("d", "b")}) in (["b", "c", "d", "b"], ["c", "d", "b", "c"])
