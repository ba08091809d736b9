"""``facodec train-entropy``: tables that are there are measured, and too few steps refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clients.cli import main
from clients.commands import train_entropy
from facodec.weights import bundled_path
from tests.conftest import DATA


def test_tables_are_measured_on_other_speech(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = tmp_path / "speech" / "somebody"
    speech.mkdir(parents=True)
    shutil.copy(DATA / "hello.flac", speech)
    words = ["--valid", speech.parent, "--cache", tmp_path / "cache", "--output", bundled_path()]
    assert main(["train-entropy", *map(str, words)]) == 0
    lines = capsys.readouterr().out.splitlines()
    bits = [float(line.split(": ")[1].split(" bits a frame")[0]) for line in lines]
    assert len(bits) == 3 and all(30 < size < 60 for size in bits)
    assert bits == sorted(bits, reverse=True), "longer packets take fewer bits a frame"


def test_what_cannot_be_learned_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "train-entropy" in train_entropy.EXAMPLES
    with pytest.raises(SystemExit):
        main(["train-entropy", "--output", str(tmp_path), "--steps", "99"])
    assert "expected a whole number from 100 to 1000000, got 99" in capsys.readouterr().err
    assert main(["train-entropy", "--output", str(tmp_path)]) == 1
    assert "holds no tables" in capsys.readouterr().err
