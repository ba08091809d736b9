"""The bundled model's steps in C as WebAssembly, for pages that compute the codec: the same
sources, compiled by Clang with vectors of 128 bits. ``make wasm`` writes the file that comes along
with the page; whoever has the same compiler gets the same bytes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from facodec.native.compiled import COMPILE_SECONDS, DEFINES, SOURCES

STEPS = ("facodec.c", "encoder.c", "decoder.c")
"""The sources that a page needs."""
EXPORTS = (
    "facodec_size", "facodec_constant", "facodec_encode", "facodec_look", "facodec_decode",
    "aligned_alloc", "free",
)  # fmt: skip
FLAGS = (
    "--target=wasm32-wasi",
    "-msimd128",
    "-std=gnu11",
    "-O3",
    "-ffp-contract=off",  # there is nothing to contract to
    "-fno-math-errno",
    "-fno-trapping-math",
    "-mexec-model=reactor",
    "-nostartfiles",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=262144",
)
PACKAGES = "clang lld wasi-libc libclang-rt-14-dev-wasm32"
"""Packages of Debian 12, which the file that comes along was made with."""


def compiler() -> str | None:
    """Clang for WebAssembly as ``clang --version`` names it; None where there is none."""
    program = shutil.which("clang")
    if program is None or shutil.which("wasm-ld") is None:
        return None
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()[0]


def build(out: Path) -> None:
    """Compiles the steps to the file ``out``. Raises OSError, saying why that fails."""
    if compiler() is None:
        raise FileNotFoundError(f"no Clang for WebAssembly was found: apt-get install {PACKAGES}")
    exports = [f"-Wl,--export={name}" for name in EXPORTS]
    sources = [str(SOURCES / name) for name in STEPS]
    command = ["clang", *FLAGS, *exports, *DEFINES, *sources, "-o", str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=COMPILE_SECONDS
    )
    if done.returncode:
        raise OSError(f"clang failed: {done.stderr.strip()}")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
