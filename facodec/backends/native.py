"""The fused Snake in C, compiled on first use where there is a compiler, never required."""

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

import torch
from torch import Tensor

from facodec.activation import DOUBLE, HALVE, Activation, ActivationState, Fused

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("snake.c")
LANES = 16
"""Channels come in multiples of this."""
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")
COMPILE_SECONDS = 60
SWITCH = "FACODEC_NATIVE"
"""Environment variable: 0 does without compiled code."""


def fused(layer: Activation) -> Fused | None:
    """A faster :meth:`Activation.step` of ``layer`` for streams past their start, with the
    parameters it has now; None where it cannot be had."""
    compiled, channels = library(), layer.act.alpha.shape[0]
    if compiled is None or channels % LANES:
        return None
    with torch.no_grad():
        up, down = (torch.tensor(fir.taps) for fir in (DOUBLE, HALVE))
        frequency = layer.act.alpha.exp()
        magnitude = 1.0 / (layer.act.beta.exp() + 1e-9)
    constants = (up, down, frequency, magnitude)  # kept alive by the closure
    addresses = tuple(tensor.data_ptr() for tensor in constants)

    def step(
        x: Tensor, state: ActivationState, _constants: object = constants
    ) -> tuple[Tensor, ActivationState]:
        x, kept, doubled = x.contiguous(), state.samples.contiguous(), state.doubled.contiguous()
        rows, count, _ = x.shape
        if not rows == len(kept) == len(doubled):
            raise ValueError(f"got {rows} rows, wanted {len(kept)}, as many as the state has")
        out, kept_next = torch.empty_like(x), torch.empty_like(kept)
        doubled_next = torch.empty_like(doubled)
        compiled.snake_step(
            x.data_ptr(),
            kept.data_ptr(),
            doubled.data_ptr(),
            *addresses,
            out.data_ptr(),
            kept_next.data_ptr(),
            doubled_next.data_ptr(),
            rows,
            count,
            channels,
        )
        return out, ActivationState(kept_next, doubled_next)

    return step


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code; None where there is none, or it is switched off."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        compiled = ctypes.CDLL(str(_compiled()))
    except (OSError, subprocess.SubprocessError) as error:
        log.info("no compiled code, PyTorch does its part: %s", error)
        return None
    compiled.snake_step.argtypes = [ctypes.c_void_p] * 10 + [ctypes.c_int64] * 3
    compiled.snake_step.restype = None
    return compiled


def _compiled() -> Path:
    """The library for this machine, from the user's cache or made now. Raises OSError or
    SubprocessError where that fails."""
    source = SOURCE.read_bytes()
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("no C compiler was found")
    known = hashlib.sha256(b"\n".join((source, " ".join(FLAGS).encode(), _processor())))
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cached / "facodec" / "native" / f"snake-{known.hexdigest()[:16]}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as place:
            made = Path(place, target.name)
            subprocess.run(
                [compiler, *FLAGS, "-o", str(made), str(SOURCE)],
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
