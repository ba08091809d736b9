"""docs/files.md against the code: every example byte for byte, every name of the header listed."""

from __future__ import annotations

import re
from pathlib import Path

import msgpack
import numpy as np
import pytest

from facodec.identity import ModelIdentity, belonging, model_of
from facodec.profiles import profile_bytes, read_profile
from facodec.recording.blocks import Header
from facodec.recording.whole import FacFile
from facodec.recording.writing import BlockWriter

DOCUMENT = (Path(__file__).parents[3] / "docs" / "files.md").read_text()
MODEL = ModelIdentity("live", "3f9a1c5b7d20")
ONES = belonging(np.ones(256, np.float32), MODEL)
CODES = np.array([[517], [3], [1023]])


def example(kind: str) -> bytes:
    """The bytes shown; a line ``.. .. x N`` stands for those bytes N times."""
    found = re.search(rf"```{kind} (\d+) bytes\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    data = b""
    for line in found[2].splitlines():
        unit, _, times = line.partition(" x ")
        data += bytes.fromhex(unit) * int(times or 1)
    assert len(data) == int(found[1])
    return data


def test_the_file_of_codes(tmp_path: Path) -> None:
    made: list[bytes] = []
    writer = BlockWriter(made.append, Header(MODEL, started=1_700_000_000))
    writer.voice(ONES, exact=True)
    writer.push(CODES)
    writer.end()
    assert b"".join(made) == example("fac") and writer.size == len(example("fac"))
    path = tmp_path / "a.fac"
    path.write_bytes(example("fac"))
    again = FacFile.read(path)
    assert np.array_equal(again.codes, CODES) and again.model == MODEL and again.samples == 200


def test_the_voice(tmp_path: Path) -> None:
    path = tmp_path / "a.voice"
    assert profile_bytes(ONES) == example("voice")
    path.write_bytes(example("voice"))
    assert np.array_equal(read_profile(path), ONES) and model_of(read_profile(path)) == MODEL


def header() -> bytes:
    """The map of the example."""
    data = example("fac")
    return data[12 : 12 + int.from_bytes(data[8:12], "little")]


@pytest.mark.parametrize("name", msgpack.unpackb(header()))
def test_every_name_in_the_header_is_listed(name: str) -> None:
    assert f"| `{name}` |" in DOCUMENT
