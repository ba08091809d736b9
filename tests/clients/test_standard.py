"""Lines that standard error does not take are lost, and nothing else is."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clients.standard import ForgivingOutput

SAY = (
    "import sys; from clients import standard; "
    "standard.open_descriptors(); standard.forgive_errors(); "
)


def test_what_fits_is_written_and_what_does_not_is_dropped(tmp_path: Path) -> None:
    for name, kept in ((tmp_path / "log", "one\ntwo\n"), (Path("/dev/full"), "")):
        with open(name, "w") as file:
            lines = io.TextIOWrapper(ForgivingOutput(file.fileno()), write_through=True)
            print("one", file=lines, flush=True)
            print("two", file=lines, flush=True)
            assert lines.fileno() == file.fileno() and not lines.isatty()
        assert name == Path("/dev/full") or name.read_text() == kept


@pytest.mark.parametrize("end", ["full", "gone", "closed"])
def test_a_program_goes_on_when_nobody_can_be_told(end: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full" if end == "full" else writer, "wb", closefd=end == "full") as errors:
        done = subprocess.run(
            [sys.executable, "-c", SAY + "print('x' * 99999, file=sys.stderr); print('done')"],
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=(lambda: os.close(2)) if end == "closed" else None,
        )
    os.close(writer)
    assert done.returncode == 0 and done.stdout == b"done\n"


def test_what_is_said_arrives_at_once_and_escaped() -> None:
    program = SAY + "print('\\udcff', file=sys.stderr); import os; os._exit(0)"
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert done.stderr == b"\\udcff\n"
