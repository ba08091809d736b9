"""C sources compiled on first use where there is a compiler, never required; the only door by which
compiled code comes into the process.

What was compiled is kept in the user's cache under the hash of what it was made from and of what
came out. From there only a file is run that this user wrote, that nobody else can write, and that
still has the second hash; any other is deleted and made anew.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from facodec.config import FRAME_FORMAT
from facodec.folders import OTHERS_WRITE, private_folder
from facodec.reasons import named_why

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
DEFINES = tuple(f"-DFACODEC_{name}={size}" for name, size in FRAME_FORMAT.items())
"""The sizes of the frame format, which C is told."""
SOURCES = Path(__file__).parent
"""The C library of this package."""
COMPILE_SECONDS = 60
ROOM = 8 << 20
"""Bytes that a folder must have free to be compiled in; a compiler tells of it at the end only."""
SWITCH = "FACODEC_NATIVE"
"""Environment variable: 0 does without compiled code."""
EXTRA_FLAGS = "FACODEC_CFLAGS"
"""Environment variable: flags for the compiler, after :data:`FLAGS` and :data:`DEFINES`."""

Tell = Callable[[str], AbstractContextManager[object]]
_tell: Tell = nullcontext


def tell_with(tell: Tell) -> None:
    """From now on ``tell(name)`` is entered around each compilation of the code of that name: it
    takes some seconds, of which a user at a terminal wants to know."""
    global _tell
    _tell = tell


def compiler() -> str | None:
    """Finds the C compiler, perhaps with words of its own (``ccache gcc``); None where there is
    none."""
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")


@cache
def library(folder: Path) -> ctypes.CDLL | None:
    """The C sources in ``folder`` compiled for this machine, from the user's cache or now; None
    where that fails, which a warning explains, or is switched off."""
    if os.environ.get(SWITCH) == "0":
        log.info("no compiled code for %s: %s is 0", folder.name, SWITCH)
        return None
    try:
        return _from_cache_or_now(_Build.of(folder))
    except OSError as error:
        log.warning(
            "%s goes without compiled code, which is slower: %s", folder.name, named_why(error)
        )
        return None


@dataclass(frozen=True)
class _Build:
    """Recipe of a library. ``prefix``: the start of its file's name, another for other sources,
    another compiler or another processor."""

    name: str
    prefix: str
    command: Sequence[str]

    @staticmethod
    def of(folder: Path) -> _Build:
        """Raises OSError where there are no sources or no compiler."""
        sources = sorted(folder.glob("*.c"))
        parts = [path.read_bytes() for path in (*sources, *sorted(folder.glob("*.h")))]
        program = compiler()
        if program is None:
            raise FileNotFoundError("no C compiler was found")
        call = (*program.split(), *FLAGS, *DEFINES, *os.environ.get(EXTRA_FLAGS, "").split())
        known = hashlib.sha256(b"\n".join((*parts, " ".join(call).encode(), _processor())))
        prefix = f"{folder.name}-{known.hexdigest()[:16]}-"
        return _Build(folder.name, prefix, (*call, *map(str, sources), "-lm"))

    def compile(self, place: Path) -> Path:
        """The library, made in an empty folder. Raises OSError, saying why that fails."""
        made = place / "made.so"
        try:
            subprocess.run(
                [*self.command, "-o", str(made)],
                check=True,
                capture_output=True,
                timeout=COMPILE_SECONDS,
                env=os.environ | {"TMPDIR": str(place), "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"{self.command[0]} took more than {COMPILE_SECONDS} s") from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode("utf-8", "replace").strip().splitlines() or ["no word"]
            told = next((line for line in said if "error: " in line), said[-1])
            raise OSError(f"{self.command[0]} failed: {told}") from error
        return made


def _from_cache_or_now(build: _Build) -> ctypes.CDLL:
    """The library of a build. Raises OSError where it cannot be had at all."""
    try:
        kept = private_folder("native")
    except OSError as error:
        log.warning(
            "compiled code cannot be kept, so each start compiles it anew: %s", named_why(error)
        )
    else:
        found = _from_cache(build, kept)
        if found is not None:
            return found
        log.info("compiling the C code of %s, once: this takes some seconds", build.name)
        try:
            return _compiled_now(build, kept)
        except OSError as error:
            reason = named_why(error)
            log.warning("no compiled code from %s, trying a temporary folder: %s", kept, reason)
    return _compiled_now(build, None)


def _from_cache(build: _Build, kept: Path) -> ctypes.CDLL | None:
    """The library kept from an earlier start; one that must not or cannot be run is deleted."""
    for path in sorted(kept.glob(f"{build.prefix}*.so")):
        try:
            fault = _fault(path, path.stem.removeprefix(build.prefix))
            if fault is None:
                return ctypes.CDLL(str(path))
        except OSError as error:
            fault = f"cannot be loaded ({named_why(error)})"
        log.warning("the compiled library %s %s: deleted", path, fault)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("cannot delete %s", named_why(error))
    return None


def _fault(path: Path, wanted: str) -> str | None:
    """Says what speaks against running a file from the cache, whose hash should be ``wanted``."""
    info = path.lstat()
    if not stat.S_ISREG(info.st_mode):
        return "is no plain file"
    if info.st_uid != os.geteuid():
        return "belongs to another user"
    if info.st_mode & OTHERS_WRITE:
        return f"can be written by others (mode {stat.S_IMODE(info.st_mode):04o})"
    return None if _hash(path) == wanted else "is not what was compiled"


def _compiled_now(build: _Build, kept: Path | None) -> ctypes.CDLL:
    """The library, compiled in a folder of its own, and ``kept`` once it could be loaded; several
    processes may do so at once. Raises OSError."""
    if kept is not None and shutil.disk_usage(kept).free < ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with tempfile.TemporaryDirectory(prefix="facodec-", dir=kept) as place:
        with _tell(build.name):
            made = build.compile(Path(place))
        loaded = ctypes.CDLL(str(made))  # which stays, whatever becomes of the file
        if kept is not None:
            made.chmod(stat.S_IRUSR | stat.S_IWUSR)
            made.replace(kept / f"{build.prefix}{_hash(made)}.so")
    return loaded


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _processor() -> bytes:
    """Identity of the processor, on which a library's instructions depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.platform()} {platform.machine()} {flags}".encode()
