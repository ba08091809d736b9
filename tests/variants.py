"""Runs the laws (``pytest -m law``) as other CPUs would, PyTorch and C alike, and the tests of C
with its compiler's sanitizers: ``python -m tests.variants --help``."""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from facodec.native.compiled import EXTRA_FLAGS, SWITCH
from tests import sanitizers

ROOT = Path(__file__).parents[1]
THREADS = "FACODEC_TEST_THREADS"
"""Environment variable: PyTorch's threads in the tests (default 1)."""
LONGEST = 900.0
"""Seconds for one run of the laws."""
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for others leave their core to whoever runs beside."""


REQUIRED = "FACODEC_TESTS_REQUIRE_ALL"
"""Environment variable: sanitizers may not be missing."""
SANITIZERS = "C compiler with sanitizers"
LAWS = ("-m", "law")
TESTS_OF_C = (
    "tests/facodec/bundled/test_native.py",
    "tests/facodec/link/test_entropy.py",
    "tests/facodec/published/test_backends.py",
    "-m", "native",
)  # fmt: skip
"""Words for pytest: tests that run C in little time, as sanitizers take ten times as long."""


@dataclass(frozen=True)
class Variant:
    """A CPU as it may be elsewhere, or C as it may be compiled. ``needs``: features without which
    it cannot be tried here; ``tests``: words for pytest."""

    name: str
    environment: dict[str, str]
    needs: set[str] = field(default_factory=set)
    tests: tuple[str, ...] = LAWS


def _vectors(level: str) -> dict[str, str]:
    return {EXTRA_FLAGS: f"-march=x86-64{level}"}


VARIANTS = (
    Variant(
        "no vectors, C with 16 bytes",
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", **_vectors("")},
        {"sse2"},
    ),
    Variant(
        "AVX2, C with 32 bytes",
        {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", **_vectors("-v3")},
        {"avx2"},
    ),
    Variant(
        "AVX-512, C with 64 bytes, 2 threads",
        {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", **_vectors("-v4"), THREADS: "2"},
        {"avx512bw", "avx512vl"},
    ),
    Variant("no C, 2 threads", {SWITCH: "0", THREADS: "2"}),
    Variant("C with sanitizers", sanitizers.environment() or {}, {SANITIZERS}, TESTS_OF_C),
)


@dataclass(frozen=True)
class Outcome:
    variant: Variant
    passed: bool
    seconds: float
    said: str

    @property
    def line(self) -> str:
        """One line of the report: the verdict, how near to the bounds, how long."""
        worst = re.search(r"^exactness, of the bound at most: (.*)$", self.said, re.M)
        verdict = "passed" if self.passed else "FAILED"
        margins = worst.group(1) if worst else ""
        return f"{self.variant.name:<36} {verdict}  {self.seconds:5.0f} s  {margins}"


def features() -> set[str]:
    """Features of this machine: of its CPU in Linux's words, none where it is not x86, and
    :data:`SANITIZERS`."""
    found = set() if sanitizers.environment() is None else {SANITIZERS}
    info = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not info.exists():
        return found
    flags = re.search(r"^flags\s*:(.*)$", info.read_text(), re.M)
    return found | set(flags.group(1).split()) if flags else found


def run(variant: Variant, more: list[str]) -> Outcome:
    """A variant's tests once, in a process of their own, which may end in the middle of one."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", *variant.tests, "-p", "no:cacheprovider"]
    command += ["--capture", "sys", *more]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | WAITING | variant.environment,
            capture_output=True, text=True, timeout=LONGEST,
        )  # fmt: skip
        passed, said = done.returncode == 0, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        passed, said = False, f"not done after {LONGEST:g} s"
    return Outcome(variant, passed, time.monotonic() - began, said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--repeat", type=int, default=1, metavar="N", help="runs of each variant (default 1)")
    add("--only", default="", metavar="TEXT", help="variants with this in their name")
    add("--jobs", type=int, default=2, metavar="N", help="at a time (default 2)")
    add("pytest", nargs="*", help="more arguments for pytest, after --")
    options = parser.parse_args()
    here = features()
    wanted = [v for v in VARIANTS if options.only in v.name]
    failed = 0
    for variant in wanted:
        if lacking := variant.needs - here:
            print(f"{variant.name:<32} not here: no {', '.join(sorted(lacking))}")
            failed += SANITIZERS in lacking and REQUIRED in os.environ
    runs = [v for v in wanted if v.needs <= here] * options.repeat
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda variant: run(variant, options.pytest), runs):
            print(outcome.line, flush=True)
            if not outcome.passed:
                failed += 1
                print(outcome.said, flush=True)
    print(f"{len(runs)} runs, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
