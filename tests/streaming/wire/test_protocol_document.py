"""docs/protocol.md against the code: every example byte for byte, every code and role listed."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgpack
import pytest

from streaming.wire import protocol

DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
TYPES = (Path(__file__).parents[3] / "docs" / "protocol.d.ts").read_text()
EXAMPLE = re.compile(
    r"```json (?P<side>client|server)\n(?P<json>.*?)```\n"
    r"```hex (?P<size>\d+) bytes\n(?P<hex>.*?)```",
    re.DOTALL,
)
EXAMPLES = [match.groupdict() for match in EXAMPLE.finditer(DOCUMENT)]


def from_hex(text: str) -> bytes:
    """Hex digits; a line ``.. .. x N`` stands for those bytes N times."""
    data = b""
    for line in text.strip().splitlines():
        unit, _, times = line.partition(" x ")
        data += bytes.fromhex(unit) * int(times or 1)
    return data


def plain(value: dict[str, Any]) -> Any:
    return from_hex(value["hex"]) if set(value) == {"hex"} else value


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e["json"][:50])
def test_example(example: dict[str, str]) -> None:
    data = from_hex(example["hex"])
    assert len(data) == int(example["size"])
    assert msgpack.unpackb(data) == json.loads(example["json"], object_hook=plain)
    decode = protocol.decode_client if example["side"] == "client" else protocol.decode_server
    assert protocol.encode(decode(data)) == data


def test_every_message_has_an_example() -> None:
    shown = {json.loads(example["json"])["type"] for example in EXAMPLES}
    assert shown == set(protocol.TYPE_NAMES.values()) - {"noise"}  # which is never msgpack
    assert DOCUMENT.count("```hex") == len(EXAMPLES)


def test_every_error_code_is_listed_with_its_close_code() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (1\d{3}) \|", DOCUMENT, re.MULTILINE)
    assert {code: int(close) for code, close in rows} == dict(protocol.CLOSE_CODES)


def test_every_role_is_listed_with_its_formats() -> None:
    for role, pairs in protocol.FORMATS_OF.items():
        text = ", ".join(f"{i or 'nothing'} -> {o or 'nothing'}" for i, o in pairs)
        assert f"| `{role}` | {text} |" in DOCUMENT


@pytest.mark.parametrize("kind", protocol.TYPE_NAMES)
def test_the_types_for_typescript_know_every_field(kind: type) -> None:
    name = {protocol.Error: "ServerError"}.get(kind, kind.__name__)
    found = re.search(rf"export interface {name} {{(.*?)(?:\n}}|}}\n)", TYPES, re.DOTALL)
    assert found is not None
    named = set(re.findall(r"(\w+)\??:", re.sub(r"/\*.*?\*/", "", found[1], flags=re.DOTALL)))
    nested = set(re.findall(r"(\w+)\??:", " ".join(re.findall(r"{(.*?)}", found[1], re.DOTALL))))
    assert {field.name for field in fields(kind)} | {"type"} == named - nested
    assert f'type: "{protocol.TYPE_NAMES[kind]}"' in found[1]
