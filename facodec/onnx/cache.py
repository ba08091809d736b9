"""Graphs of models that were not exported by hand, kept in the user's cache."""

from __future__ import annotations

import atexit
import hashlib
import logging
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from facodec.bundled.model import LiveModel
from facodec.folders import private_folder
from facodec.onnx import SIDECAR
from facodec.onnx.export import FORMAT, export
from facodec.published.model import Ns3Model
from facodec.reasons import named_why

log = logging.getLogger(__name__)

LAYOUT = "3"
"""Raised when exporting writes more than before."""
WEIGHTS = ("*.safetensors", "*.bin", "model.json")


def exported(weights: Path, read: Callable[[Path], LiveModel | Ns3Model]) -> Path:
    """The folder with the float32 graphs of the model that ``read`` finds in the folder
    ``weights``; made once, which takes from some seconds to a minute."""
    target = _cache() / _fingerprint(weights)
    if not (target / SIDECAR).exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as place:
            made = Path(place, "graphs")
            export(read(weights), made)
            if not target.exists():  # else another process was faster
                made.rename(target)
    return target


def _cache() -> Path:
    """The folder that graphs are kept in, for as long as this process runs where there is none."""
    try:
        return private_folder("onnx")
    except OSError as error:
        reason = named_why(error)
        log.warning("exported graphs cannot be kept, so each start exports anew: %s", reason)
        place = tempfile.TemporaryDirectory(prefix="facodec-")
        atexit.register(place.cleanup)
        return Path(place.name)


def _fingerprint(weights: Path) -> str:
    """Changes with the weights, the program and the exporter."""
    parts = (FORMAT, LAYOUT, *map(version, ("facodec-live", "torch")))
    found = hashlib.sha256(" ".join(parts).encode())
    for path in sorted(path for pattern in WEIGHTS for path in weights.glob(pattern)):
        found.update(path.read_bytes())
    return found.hexdigest()[:24]
