"""The steps as WebAssembly that come along with the page: made of these sources alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from facodec.native import webassembly
from tests.conftest import ROOT, missing

KEPT = ROOT / "clients" / "web" / "codec.wasm"
MADE_WITH = "Debian clang version 14.0.6"


def test_the_file_that_comes_along_is_what_the_sources_give(tmp_path: Path) -> None:
    found = webassembly.compiler()
    if found is None:
        missing(webassembly.PACKAGES)
    if found != MADE_WITH:
        pytest.skip(f"{KEPT.name} was made with {MADE_WITH}, here is {found}")
    webassembly.build(tmp_path / "made.wasm")
    made = (tmp_path / "made.wasm").read_bytes()
    assert made == KEPT.read_bytes(), "the C steps have changed: make wasm"


def test_it_asks_nothing_of_the_page() -> None:
    data = KEPT.read_bytes()
    assert data[:8] == b"\0asm\1\0\0\0" and len(data) < 300_000
    assert b"wasi_snapshot" not in data and b"/usr/" not in data
    for name in webassembly.EXPORTS:
        assert name.encode() in data


def test_what_is_wrong_with_the_compiler_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="apt-get install clang"):
        webassembly.build(tmp_path / "made.wasm")
