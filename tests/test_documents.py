"""The documents are finished: no dead links, no placeholders, commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clients.cli import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "facodec" / "weights" / "live" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_nothing_is_left_to_fill_in(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert target.startswith("http") or (path.parent / target).exists(), target
    assert not re.findall(r"\b(?:TODO|FIXME|[A-Z]+_(?:TABLE|LINE))\b", text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_shown_exist(path: Path) -> None:
    for command in re.findall(r"^ +facodec (\w+)", path.read_text(), re.MULTILINE):
        assert command in COMMANDS, command
