"""Voices that come with a model's weights: timbre vectors by name, and notes on whose they are.

``voices.json`` maps each name to its notes (about, speaker, corpus, licence, and so on);
``voices.safetensors`` holds a float32 vector (256,) a name, made from those notes by
``facodec train --export DIR --data SPEECH``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VECTORS, NOTES = "voices.safetensors", "voices.json"
Timbre = NDArray[np.float32]
Notes = dict[str, dict[str, str]]


def load_voices(folder: Path) -> dict[str, Timbre]:
    """Name -> timbre (256,); empty for weights without voices. A damaged file is a ValueError."""
    path = folder / VECTORS
    if not path.exists():
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(sorted(load_file(path).items()))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read voices from {path}: {error}") from error


def save_voices(folder: Path, voices: dict[str, Timbre]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(v) for name, v in voices.items()}, folder / VECTORS)
    (folder / VECTORS).chmod(0o644)  # safetensors makes files that their owner alone can read


def voice_notes(folder: Path) -> Notes:
    """Name -> notes; empty where there are none."""
    path = folder / NOTES
    notes: Notes = json.loads(path.read_text()) if path.exists() else {}
    return notes
