"""The documents are finished: no dead links, no placeholders, commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.cli import PARTS
from clients.cli import COMMANDS
from facodec.extras import EXTRAS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "facodec" / "weights" / "live" / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
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


def test_the_index_lists_every_document() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"]({path.name})" in index, path.name


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for floor in ("facodec", "streaming", "clients", "benchmarks"):
        _, _, section = text.partition(f"| room of `{floor}` |")
        table = section.partition("\n\n")[0]
        files = (path for kind in ("py", "js") for path in (ROOT / floor).glob(f"*/*.{kind}"))
        rooms = {path.parent.name for path in files}
        assert set(re.findall(r"`(\w+)/`", table)) - {"steps"} == rooms, floor


def test_every_measurement_is_documented() -> None:
    text = (ROOT / "docs" / "measuring.md").read_text()
    for part in set(PARTS) - {"report"}:
        assert f"`facodec bench {part}" in text, part


def test_every_extra_is_documented() -> None:
    text = (ROOT / "docs" / "installing.md").read_text()
    for extra in (*EXTRAS, "all"):
        assert f"\n| `{extra}` |" in text, extra


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("README.md", "`export FACODEC_SERVER=ws://host:8765` stands for `--server`"),
        ("README.md", "Wear headphones"),
        ("README.md", "A virtual cable takes"),
        ("README.md", "| prosody | 1 |"),
        ("README.md", "| content | 2 |"),
        ("README.md", "| detail | 3 |"),
        ("docs/clients.md", "**Headphones and echo.**"),
        ("docs/clients.md", "| Linux, PulseAudio or PipeWire |"),
        ("docs/clients.md", "| macOS |"),
        ("docs/clients.md", "| Windows, under WSL 2 |"),
        ("docs/installing.md", "## From the checkout"),
        ("docs/installing.md", "pip install dist/facodec_live-*.whl"),
    ],
)
def test_what_newcomers_ask_is_answered(name: str, told: str) -> None:
    assert told in (ROOT / name).read_text()


def test_continuous_integration_runs_targets_that_exist() -> None:
    """Without what is not part of the repository: there the tests that need it are skipped."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    used = {name for path in workflows for name in re.findall(r"\bmake (\w+)", path.read_text())}
    assert "test" in used and used <= targets
    assert not any("REQUIRE_ALL" in path.read_text() for path in workflows)
