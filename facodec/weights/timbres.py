"""Voices that come with a model's weights: timbre vectors by name, and notes on whose they are.

``voices.json`` maps each name to its notes (about, speaker, corpus, licence, and so on);
``voices.safetensors`` holds a float32 vector (256,) a name, made from those notes by
``facodec train --export DIR --data SPEECH``, and in its metadata the model's ``identity``.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.config import LARGEST_TIMBRE, TIMBRE_DIM
from facodec.files import read_bytes, read_json, write_bytes
from facodec.identity import ModelIdentity, ModelMismatch, belonging, need_model
from facodec.reasons import FileError, shown

log = logging.getLogger(__name__)

VECTORS, NOTES = "voices.safetensors", "voices.json"
LARGEST_FILE = 16 << 20
MAKE_ANEW = "make them anew (facodec train --export DIR --data SPEECH), or remove the file"
Timbre = NDArray[np.float32]
Notes = dict[str, dict[str, str]]


def load_voices(folder: Path, model: ModelIdentity) -> dict[str, Timbre]:
    """Name -> timbre (256,); empty for weights without voices. A damaged file, or voices of
    another model, are a FileError; those that do not say whose they are are taken to be its own,
    with a warning."""
    path = folder / VECTORS
    if not path.exists():
        return {}
    from safetensors.numpy import load

    data = read_bytes(path, LARGEST_FILE)
    try:
        found = load(data)
    except Exception as error:  # its own errors have no common base
        raise FileError(f"cannot read voices from {shown(path)}: {error}") from error
    made = identity_told(data, path)
    if made is None:
        log.warning("%s does not say which model its voices are of: taken for %s", path, model)
    try:
        need_model(f"{shown(path)}: its voices were", made, model, MAKE_ANEW)
    except ModelMismatch as error:
        raise FileError(str(error)) from error
    return {name: belonging(_checked(name, found[name], path), model) for name in sorted(found)}


def voices_identity(folder: Path) -> ModelIdentity | None:
    """The model that a folder's voices were made with; None where they do not say it. A damaged
    file is a FileError."""
    path = folder / VECTORS
    return identity_told(read_bytes(path, LARGEST_FILE), path) if path.exists() else None


def identity_told(data: bytes, path: Path) -> ModelIdentity | None:
    """The model that the metadata of safetensors name; None where they do not. A damaged file is a
    FileError."""
    size = int.from_bytes(data[:8], "little")
    try:
        told = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
        return ModelIdentity.parse(told["identity"]) if "identity" in told else None
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise FileError(f"cannot read voices from {shown(path)}: {error}") from error


def save_voices(folder: Path, voices: dict[str, Timbre], model: ModelIdentity) -> None:
    """Write timbres (256,) of a model by name, in place of those that were there."""
    from safetensors.numpy import save

    vectors = {name: np.ascontiguousarray(v) for name, v in voices.items()}
    write_bytes(folder / VECTORS, save(vectors, metadata={"identity": str(model)}))


def voice_notes(folder: Path) -> Notes:
    """Name -> notes; empty where there are none. A damaged file is a FileError."""
    path = folder / NOTES
    if not path.exists():
        return {}
    notes = read_json(path, LARGEST_FILE)
    if not isinstance(notes, dict) or not all(isinstance(each, dict) for each in notes.values()):
        raise FileError(f"{shown(path)} is damaged: expected notes by the names of voices")
    return notes


def _checked(name: str, vector: NDArray[Any], path: Path) -> Timbre:
    if vector.shape != (TIMBRE_DIM,) or not np.issubdtype(vector.dtype, np.floating):
        raise FileError(
            f"{shown(path)}: expected {TIMBRE_DIM} floats for voice {name!r}, got "
            f"{vector.dtype} of shape {vector.shape}"
        )
    if not np.abs(vector).max() <= LARGEST_TIMBRE:
        raise FileError(
            f"{shown(path)}: expected finite numbers up to {LARGEST_TIMBRE:g} in voice {name!r}"
        )
    return vector.astype(np.float32)
