"""Extras: what is missing is named, with the command that installs it."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

import facodec
from facodec import extras

ROOT = Path(__file__).parents[2]


def test_what_is_there_is_not_needed() -> None:
    extras.need("server")


@pytest.mark.parametrize(
    ("extra", "modules", "absent", "thing"),
    [
        ("server", (), "torch", "PyTorch, which computes the codec"),
        ("train", (), "matplotlib", "matplotlib"),
        ("onnx", ("onnxruntime",), "onnxruntime", "onnxruntime"),
        ("onnx", ("onnxruntime",), "torch", "PyTorch, which computes the codec"),
        ("bench", ("pesq", "pystoi"), "pystoi", "pystoi"),
    ],
)
def test_a_missing_module_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, extra: str, modules: tuple[str, ...], absent: str, thing: str
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == absent else object())
    with pytest.raises(extras.MissingExtra) as caught:
        extras.need(extra, *modules)
    assert str(caught.value).startswith(f"this needs {thing}: pip install ")
    assert str(caught.value).endswith(f"[{extra}]'")


def test_a_public_name_without_its_extra_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "facodec.loading", raising=False)
    with pytest.raises(extras.MissingExtra, match=r"PyTorch.*\[server\]"):
        _ = facodec.load


def test_modules_of_no_extra_are_named_alone() -> None:
    assert str(extras.missing("somepackage.part")) == (
        "this needs the Python package 'somepackage', which is not installed"
    )
    assert "[onnx]" in str(extras.missing("onnxruntime.quantization"))


def test_a_checkout_that_is_not_installed_is_installed_from_where_it_lies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert extras.install("av") == "pip install 'facodec-live[av]'"

    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    assert extras.install("av") == f"pip install -e '{ROOT}[av]'"


def test_every_extra_that_is_named_can_be_installed() -> None:
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {*extras.EXTRAS} <= {*declared}
    assert "all" in declared
