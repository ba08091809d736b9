"""Graphs of models that were not exported by hand, kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

from facodec.loading import read_model
from facodec.onnx import SIDECAR
from facodec.onnx.export import FORMAT, export

WEIGHTS = ("*.safetensors", "*.bin", "model.json")


def exported(weights: Path) -> Path:
    """The folder with the float32 graphs of the model in the folder ``weights``; made once, which
    takes from some seconds to a minute."""
    target = _cache() / _fingerprint(weights)
    if not (target / SIDECAR).exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as place:
            made = Path(place, "graphs")
            export(read_model(weights), made)
            if not target.exists():  # else another process was faster
                made.rename(target)
    return target


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "facodec", "onnx")


def _fingerprint(weights: Path) -> str:
    """Changes with the weights, the program and the exporter."""
    found = hashlib.sha256(" ".join((FORMAT, *map(version, ("facodec-live", "torch")))).encode())
    for path in sorted(path for pattern in WEIGHTS for path in weights.glob(pattern)):
        found.update(path.read_bytes())
    return found.hexdigest()[:24]
