"""Make the voices that come with a model, and the distribution that anonymous ones are drawn from,
of the speakers of a folder of speech."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from facodec.arrays import Audio, Timbre
from facodec.codec import Codec
from facodec.config import SAMPLE_RATE
from facodec.training.corpus import find_files, read_each
from facodec.training.phones import read_manifest
from facodec.weights.timbres import Notes

LONGEST = 60 * SAMPLE_RATE
"""Samples; more of a speaker says nothing new about the voice."""
SHORTEST = 5 * SAMPLE_RATE
"""Samples of a speaker without which he does not count in the distribution."""
GROWN_UP = 16
"""Age in years from which he does."""


def make_voices(codec: Codec, notes: Notes, data: Path) -> dict[str, Timbre]:
    """Name -> timbre (256,) of the speaker that its notes name, a sub-folder of ``data``.

    Raises ValueError for a speaker that is not there.
    """
    voices = {}
    for name, about in notes.items():
        folder = data / about["speaker"]
        if not folder.is_dir():
            raise ValueError(f"voice {name!r}: no folder {folder}, expected that speaker's speech")
        voices[name] = codec.voice(_speech(folder))
    return voices


def speaker_timbres(codec: Codec, data: Path) -> list[Timbre]:
    """Timbres (256,) of the speakers of a folder, its sub-folders: of grown-ups, as far as a
    ``manifest.tsv`` tells their ages, with enough speech."""
    ages = {row.get("speaker"): row.get("age", "") for row in read_manifest(data)}
    timbres = []
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        age = ages.get(folder.name, "")
        if age.isdigit() and int(age) < GROWN_UP:
            continue
        with contextlib.suppress(ValueError):  # nothing to read, or no voice in it
            if len(speech := _speech(folder)) >= SHORTEST:
                timbres.append(codec.voice(speech))
    return timbres


def _speech(folder: Path) -> Audio:
    """The first minute of a speaker's recordings."""
    parts, samples = [np.zeros(0, np.float32)], 0
    for _, speech in read_each(find_files(folder)):
        parts.append(speech)
        samples += len(speech)
        if samples >= LONGEST:
            break
    return np.concatenate(parts)[:LONGEST]
