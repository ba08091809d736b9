"""The sanitizers notice what C does wrong (``python -m tests.variants --only sanitizers`` lets the
tests of C run with them)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facodec.native import compiled
from tests import sanitizers
from tests.conftest import ROOT, missing

PROGRAM = """
import ctypes, sys
from pathlib import Path
import numpy as np
from facodec.native import compiled
library = compiled.library(Path(sys.argv[1]))
numbers = np.ones(300, np.float32)
library.wrong.argtypes = [ctypes.c_void_p, ctypes.c_int]
print(library.wrong(numbers.ctypes.data, len(numbers)))
"""


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("return numbers[count - 1];", 0, ""),
        ("return numbers[count];", 1, "heap-buffer-overflow"),
        ("return count + 2147483647;", 1, "signed integer overflow"),
    ],
)
def test_what_c_does_wrong_ends_the_process(
    tmp_path: Path, source: str, status: int, told: str
) -> None:
    environment = sanitizers.environment()
    if os.environ.get(compiled.SWITCH) == "0" or environment is None:
        missing("a C compiler with sanitizers")
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "small.c").write_text(f"int wrong(const float *numbers, int count) {{ {source} }}\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, **environment, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (status, "" if status else "1\n"), done.stderr
    assert told in done.stderr
