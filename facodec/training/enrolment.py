"""Make the voices that come with a model from the speakers of a folder of speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facodec.arrays import Timbre
from facodec.codec import Codec
from facodec.config import SAMPLE_RATE
from facodec.training.corpus import find_files, read_speech
from facodec.weights.timbres import Notes

LONGEST = 60 * SAMPLE_RATE
"""Samples; more of a speaker says nothing new about the voice."""


def make_voices(codec: Codec, notes: Notes, data: Path) -> dict[str, Timbre]:
    """Name -> timbre (256,) of the speaker that its notes name, a sub-folder of ``data``.

    Raises ValueError for a speaker that is not there.
    """
    voices = {}
    for name, about in notes.items():
        folder = data / about["speaker"]
        if not folder.is_dir():
            raise ValueError(f"voice {name!r}: no folder {folder}, wanted that speaker's speech")
        speech = np.concatenate([read_speech(path) for path in find_files(folder)])
        voices[name] = codec.voice(speech[:LONGEST])
    return voices
