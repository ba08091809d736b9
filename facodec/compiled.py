"""C sources compiled on first use where there is a compiler, never required."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

FLAGS = (
    "-std=gnu11",
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
)
COMPILE_SECONDS = 60
SWITCH = "FACODEC_NATIVE"
"""Environment variable: 0 does without compiled code."""


@cache
def library(folder: Path) -> ctypes.CDLL | None:
    """The C sources in ``folder`` compiled for this machine, from the user's cache or now; None
    where that fails, or is switched off."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        return ctypes.CDLL(str(_compiled(folder)))
    except (OSError, subprocess.SubprocessError) as error:
        log.info("no compiled code, PyTorch does its part: %s", error)
        return None


def _compiled(folder: Path) -> Path:
    """The library in the user's cache. Raises OSError or SubprocessError where that fails."""
    sources = sorted(folder.glob("*.c"))
    parts = [path.read_bytes() for path in (*sources, *sorted(folder.glob("*.h")))]
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("no C compiler was found")
    how = " ".join((compiler, *FLAGS)).encode()
    known = hashlib.sha256(b"\n".join((*parts, how, _processor())))
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cached / "facodec" / "native" / f"{folder.name}-{known.hexdigest()[:16]}.so"
    if not target.exists():
        log.info("compiling the C code of %s, once", folder.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as place:
            made = Path(place, target.name)
            subprocess.run(
                [compiler, *FLAGS, "-o", str(made), *map(str, sources), "-lm"],
                check=True,
                capture_output=True,
                timeout=COMPILE_SECONDS,
            )
            made.replace(target)
    return target


def _processor() -> bytes:
    """What the instructions of a library for this machine depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.platform()} {platform.machine()} {flags}".encode()
