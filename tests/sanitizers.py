"""C under the sanitizers of its compiler: a read or a write outside of an array, and whatever C
leaves undefined, ends the process with a report on stderr."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from facodec.native.compiled import EXTRA_FLAGS, compiler

FLAGS = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
CPLUSPLUS = "libstdc++.so.6"
"""Library that has to be there when sanitizers start, or PyTorch's first exception ends them."""
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:alloc_dealloc_mismatch=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
"""Faults of Python's and PyTorch's own memory are not looked for."""


@cache
def environment() -> dict[str, str] | None:
    """Variables of a process whose C is compiled with sanitizers, which see the arrays of NumPy and
    PyTorch too; None where the C compiler has no sanitizers."""
    program = compiler()
    if program is None:
        return None
    said = subprocess.run(
        [*program.split(), "-print-file-name=libasan.so"],
        capture_output=True,
        text=True,
        check=False,
    )
    library = Path(said.stdout.strip())
    if not library.is_absolute():  # a bare name: none was found
        return None
    return {**OPTIONS, EXTRA_FLAGS: FLAGS, "LD_PRELOAD": f"{library.resolve()} {CPLUSPLUS}"}
