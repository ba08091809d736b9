"""Breaks modules one at a time, and runs the tests that have to notice it:

    .venv/bin/python -m tests.breaking [MODULE...]

Every function of the module raises, in this process of pytest and in those it starts; a module
without functions raises where it is imported. Exits with 1 where the tests of a module pass all the
same; without names, all modules are tried, which takes about a second each and more.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).parents[1]
PYTEST_FAILED = 1
RAISE = "raise RuntimeError('broken on purpose')"


class Breaking(ast.NodeTransformer):
    """Lets every function raise before anything else; ``broken`` counts them."""

    def __init__(self) -> None:
        self.broken = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.body.insert(0, ast.parse(RAISE).body[0])
        self.broken += 1
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]


class BrokenLoader(SourceFileLoader):
    """Loads a module from its source, broken."""

    def get_code(self, fullname: str) -> CodeType:
        breaking = Breaking()
        tree = breaking.visit(ast.parse(self.get_source(fullname) or ""))
        if not breaking.broken:
            tree.body += ast.parse(RAISE).body
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


class BrokenFinder(MetaPathFinder):
    """Finds one module, to be broken."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == self._module else None
        if spec is not None:
            spec.loader = BrokenLoader(name, str(spec.origin))
        return spec


def install(module: str) -> None:
    """Breaks a module in this process, from its import on."""
    sys.meta_path.insert(0, BrokenFinder(module))


def is_noticed(module: str) -> bool:
    """Whether a test that has to notice it fails where the module is broken."""
    from tests.test_mirror import noticing

    with tempfile.TemporaryDirectory() as folder:
        start = f"from tests.breaking import install\ninstall({module!r})\n"
        (Path(folder) / "sitecustomize.py").write_text(start)
        found = os.pathsep.join((folder, str(ROOT)))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *map(str, sorted(noticing(module)))],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": found}, capture_output=True, check=False,
        )  # fmt: skip
    return done.returncode == PYTEST_FAILED or b"broken on purpose" in done.stdout + done.stderr


def main() -> int:
    from tests.test_mirror import working_modules

    parser = argparse.ArgumentParser(description="Break modules, and see who notices.")
    parser.add_argument("module", nargs="*", help="dotted name (default: all, one by one)")
    unnoticed = 0
    for module in parser.parse_args().module or working_modules():
        noticed = is_noticed(module)
        unnoticed += not noticed
        print(f"{'noticed' if noticed else 'NOT NOTICED'}  {module}", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
