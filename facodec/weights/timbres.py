"""Voices that come with a model's weights: timbre vectors by name, and notes on whose they are.

``voices.json`` maps each name to its notes (about, speaker, corpus, licence, and so on);
``voices.safetensors`` holds a float32 vector (256,) a name, made from those notes by
``facodec train --export DIR --data SPEECH``, and in its metadata the model's ``identity`` and a
SHA-256 of all that. Files of before have none.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from hashlib import sha256
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
DIGEST = "sha256"
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
    found, made = read_vectors(path, "voices")
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
    if not path.exists():
        return None
    try:
        return _identity_in(_told_in(read_bytes(path, LARGEST_FILE)))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise FileError(f"cannot read voices from {shown(path)}: {error}") from error


def read_vectors(path: Path, what: str) -> tuple[dict[str, NDArray[Any]], ModelIdentity | None]:
    """Arrays by name, and the model that they belong to, None where the file does not say it. A
    damaged file is a FileError on ``what`` it should hold."""
    from safetensors.numpy import load

    data = read_bytes(path, LARGEST_FILE)
    try:
        found, told = load(data), _told_in(data)
        made = _identity_in(told)
        if DIGEST in told and told[DIGEST] != _digest(found, made):
            raise ValueError("it is damaged, or not as it was written: its SHA-256 is another")
    except Exception as error:  # safetensors' own errors have no common base
        raise FileError(f"cannot read {what} from {shown(path)}: {error}") from error
    return found, made


def write_vectors(path: Path, vectors: Mapping[str, NDArray[Any]], model: ModelIdentity) -> None:
    """Write arrays of a model by name, in place of those that were there."""
    from safetensors.numpy import save

    told = {"identity": str(model), DIGEST: _digest(vectors, model)}
    write_bytes(path, save(dict(vectors), metadata=told))


def _told_in(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    told: dict[str, str] = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
    return told


def _identity_in(told: Mapping[str, str]) -> ModelIdentity | None:
    return ModelIdentity.parse(told["identity"]) if "identity" in told else None


def _digest(vectors: Mapping[str, NDArray[Any]], model: ModelIdentity | None) -> str:
    found = sha256(str(model).encode())
    for name in sorted(vectors):
        array = vectors[name]
        found.update(f"\n{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return found.hexdigest()


def save_voices(folder: Path, voices: dict[str, Timbre], model: ModelIdentity) -> None:
    """Write timbres (256,) of a model by name, in place of those that were there."""
    vectors = {name: np.ascontiguousarray(v) for name, v in voices.items()}
    write_vectors(folder / VECTORS, vectors, model)


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
