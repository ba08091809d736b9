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
