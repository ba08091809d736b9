"""The public face of each package: its names exist, load when they are used, and are typed."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import facodec

ROOT = Path(__file__).parents[1]
PACKAGES = ("facodec", "streaming", "clients", "benchmarks")
every_package = pytest.mark.parametrize("package", PACKAGES)


@every_package
def test_every_public_name_exists(package: str) -> None:
    face = import_module(package)
    assert face.__all__ == sorted(face.__all__)
    for name in face.__all__:
        assert getattr(face, name) is not None
    assert face.__version__ == facodec.__version__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = face.nothing


@every_package
def test_type_checkers_see_the_same_names(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        name.name for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert seen == {*import_module(package).__all__} - {"__version__"}
    assert (ROOT / package / "py.typed").exists()


@every_package
def test_a_package_loads_nothing_until_it_is_used(package: str) -> None:
    program = (
        f"import sys, {package}\n"
        "print({'torch', 'numpy', 'websockets', 'soundfile'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "set()\n"


def test_every_command_explains_itself_without_torch() -> None:
    """And every part of the benchmarks, or it names the extra that it lacks."""
    program = (
        "import sys, contextlib, io\n"
        "from facodec.extras import EXTRAS\n"
        "sys.modules.update({name: None for brought in EXTRAS.values() for name in brought})\n"
        "from benchmarks.registry import PARTS\n"
        "from clients.cli import COMMANDS, main\n"
        "for words in [[name] for name in COMMANDS] + [['bench', part] for part in PARTS]:\n"
        "    said = io.StringIO()\n"
        "    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):\n"
        "        try: status = main([*words, '--help'])\n"
        "        except SystemExit as end: status = end.code\n"
        "    lacks = status == 2 and 'pip install' in said.getvalue() and words[0] == 'bench'\n"
        "    assert status == 0 or lacks, (words, said.getvalue())\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_what_clients_use_loads_no_torch() -> None:
    program = (
        "import sys, clients, facodec\n"
        "for name in clients.__all__: getattr(clients, name)\n"
        "facodec.FacFile, facodec.FileError\n"
        "import clients.session.talk, clients.session.run\n"
        "print({'torch', 'safetensors', 'tqdm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "set()\n"
