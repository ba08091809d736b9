"""Voice profiles: one voice in a file ``NAME.voice``, with the model that it belongs to.

256 float32, little-endian (1024 bytes), then the model's identity as ASCII text to the end of the
file. Files of before, of 1024 bytes, may have the model's name in the notes beside them,
``NAME.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.config import LARGEST_TIMBRE, TIMBRE_DIM
from facodec.files import need_plain, read_bytes, read_json
from facodec.identity import LONGEST_IDENTITY, ModelIdentity, belonging, model_of
from facodec.reasons import FileError, shown

SUFFIX = ".voice"
TIMBRE_BYTES = 4 * TIMBRE_DIM
LARGEST_NOTES = 1 << 16
Timbre = NDArray[np.float32]


def profile_bytes(timbre: Timbre) -> bytes:
    """A profile's content: timbre (256,) and the model it carries, if any."""
    model = model_of(timbre)
    told = b"" if model is None else str(model).encode("ascii")
    return np.asarray(timbre, dtype="<f4").tobytes() + told


def read_profile(path: Path) -> Timbre:
    """The timbre (256,) of a profile, with its model as far as the file or its notes tell it.
    Raises FileError for one that is damaged or cannot be read."""
    need_plain(path)
    data = read_bytes(path, TIMBRE_BYTES + LONGEST_IDENTITY)
    try:
        timbre = _timbre(data[:TIMBRE_BYTES])
        told = data[TIMBRE_BYTES:].decode("ascii", "backslashreplace")
        model = ModelIdentity.parse(told) if told else None
    except ValueError as error:
        raise FileError(f"{shown(path)} is not a voice, or is damaged: {error}") from error
    return belonging(timbre, model or _model_in(read_notes(path)))


def read_notes(path: Path) -> dict[str, Any]:
    """The notes beside a profile, where there are any. Raises FileError."""
    beside = path.with_suffix(".json")
    if not beside.exists():
        return {}
    need_plain(beside)
    notes = read_json(beside, LARGEST_NOTES)
    if not isinstance(notes, dict):
        raise FileError(f"{shown(beside)} is damaged: expected names and values")
    return notes


def _timbre(data: bytes) -> Timbre:
    if len(data) != TIMBRE_BYTES:
        raise ValueError(f"expected {TIMBRE_BYTES} bytes of a timbre, got {len(data)}")
    timbre = np.frombuffer(data, dtype="<f4").astype(np.float32)
    if not np.abs(timbre).max() <= LARGEST_TIMBRE:
        raise ValueError(f"expected finite numbers up to {LARGEST_TIMBRE:g}")
    return timbre


def _model_in(notes: dict[str, Any]) -> ModelIdentity | None:
    try:
        return ModelIdentity.parse(notes.get("model"))
    except ValueError:
        return None
