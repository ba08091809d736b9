"""docs/files.md against the code: every example byte for byte, every name of the header listed."""

from __future__ import annotations

import re
from pathlib import Path

import msgpack
import numpy as np
import pytest

from facodec.bitstream import FacFile
from facodec.identity import ModelIdentity, belonging, model_of
from facodec.profiles import profile_bytes, read_profile

DOCUMENT = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
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
    path = tmp_path / "a.fac"
    FacFile(CODES, ONES, MODEL, 200).write(path)
    assert path.read_bytes() == example("fac")
    path.write_bytes(example("fac"))
    again = FacFile.read(path)
    assert np.array_equal(again.codes, CODES) and again.model == MODEL


def test_the_voice(tmp_path: Path) -> None:
    path = tmp_path / "a.voice"
    assert profile_bytes(ONES) == example("voice")
    path.write_bytes(example("voice"))
    assert np.array_equal(read_profile(path), ONES) and model_of(read_profile(path)) == MODEL


@pytest.mark.parametrize("name", msgpack.unpackb(example("fac")[12:-12]))
def test_every_name_in_the_header_is_listed(name: str) -> None:
    assert f"| `{name}` |" in DOCUMENT
