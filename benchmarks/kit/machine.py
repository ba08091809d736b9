"""The machine under a benchmark: what it is, what runs on it, and how fast it is at what counts."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from ctypes import c_float, c_int64
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PACKAGES = ("facodec-live", "torch", "numpy", "websockets", "uvloop", "msgpack", "onnxruntime")
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
MEGA = 1e6
READ_SIZES_MB = (1, 16, 128)
"""Sizes of weights whose rate of reading is measured: in a core's cache, the last cache, beyond."""


def describe(threads: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Hardware, versions, threads and seed, as a JSON value. Loads no torch by itself."""
    torch = sys.modules.get("torch")
    facts: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else
        os.cpu_count(),
        "features": _features(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": _versions(),
        "commit": _commit(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": seed,
    }  # fmt: skip
    if torch is not None:
        facts["torch_threads"] = threads if threads is not None else torch.get_num_threads()
        if torch.cuda.is_available():
            facts["gpu"] = torch.cuda.get_device_name()
            facts["cuda"] = torch.version.cuda
    return facts


class Calibration:
    """A fixed piece of work of the same kind as a codec's step, to measure machines in.

    Eight blocks of LayerNorm, a layer 256 -> 768 with GELU and one 768 -> 256, on one row in
    float32: 12.6 MB of weights are read. Times over this one compare between machines, and between
    quiet and busy hours, far better than milliseconds do.
    """

    WIDTH, HIDDEN, BLOCKS = 256, 768, 8

    def __init__(self) -> None:
        import torch
        from torch import nn

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._blocks = nn.Sequential(
                *(
                    nn.Sequential(
                        nn.LayerNorm(self.WIDTH),
                        nn.Linear(self.WIDTH, self.HIDDEN),
                        nn.GELU(approximate="tanh"),
                        nn.Linear(self.HIDDEN, self.WIDTH),
                    )
                    for _ in range(self.BLOCKS)
                )
            ).requires_grad_(False)
            self._row = torch.randn(1, self.WIDTH)

    def __call__(self) -> Tensor:
        """Runs the work once."""
        import torch

        with torch.inference_mode():
            y: Tensor = self._blocks(self._row)
        return y


def rates(seconds: float = 0.5) -> dict[str, Any]:
    """Measures the rates that one call can reach here with torch's present threads: GB/s of reading
    weights of some sizes (matrix times vector) and GFLOP/s of a large product, float32 and
    bfloat16; with one thread, float32 is what the CPU computes in its registers, where there is a C
    compiler.

    ``seconds`` is spent on each; the fastest repetition counts, as the limit is sought."""
    import torch

    read = {}
    for size in READ_SIZES_MB:
        weights = torch.rand(size * 250, 1000)
        vector = torch.rand(1000)
        read[f"{size} MB"] = size * MEGA / _fastest(lambda w=weights, v=vector: w @ v, seconds)
    compute = {}
    for kind in (torch.float32, torch.bfloat16):
        matrix = torch.rand(768, 768).to(kind)
        best = _fastest(lambda m=matrix: m @ m, seconds)
        compute[str(kind).removeprefix("torch.")] = 2 * 768**3 / best
    if torch.get_num_threads() == 1:
        compute["float32"] = max(compute["float32"], _peak(seconds))
    return {
        "threads": torch.get_num_threads(),
        "read_gb_s": {name: round(rate / 1e9, 2) for name, rate in read.items()},
        "gflop_s": {name: round(rate / 1e9, 1) for name, rate in compute.items()},
    }


def _peak(seconds: float) -> float:
    """FLOP/s of ``native/peak.c``; 0 where it cannot be compiled."""
    from facodec.native import compiled

    library = compiled.library(Path(__file__).with_name("native"))
    if library is None:
        return 0.0
    library.operations.argtypes, library.operations.restype = [c_int64], c_int64
    library.compute.argtypes, library.compute.restype = [c_int64, c_float, c_float], c_float
    rounds = 100_000
    best = _fastest(lambda: library.compute(rounds, 0.5, 0.5), seconds)
    return float(library.operations(rounds)) / best


def _fastest(call: Any, seconds: float) -> float:
    call()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def summary(facts: dict[str, Any]) -> str:
    """The description in one line."""
    torch = facts["packages"].get("torch", "not installed")
    where = facts.get("gpu") or facts["cpu"]
    threads = facts.get("torch_threads")
    return (
        f"{where}, {facts['cores']} cores, {facts['system']}, Python {facts['python']}, torch "
        f"{torch}" + (f", {threads} thread(s)" if threads else "") + f", seed {facts['seed']}"
        f", load average {facts['load_average']}, {facts['when']}"
    )


def _cpu_model() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _features() -> list[str]:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("flags"):
            present = set(line.split())
            return [name for name in FEATURES if name in present]
    return []


def _memory_gib() -> float | None:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            return round(int(line.split()[1]) / 2**20, 1)
    return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit this code runs from, marked where files differ; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        said = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"],
            capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None
