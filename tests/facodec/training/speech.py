"""Speech to train with, which tests of several stages write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def two_speakers(folder: Path, hello: np.ndarray, reply: np.ndarray) -> None:
    """Writes two files of each of two speakers, and one that is too short."""
    for speaker, audio in (("she", hello), ("he", reply)):
        (folder / speaker).mkdir()
        soundfile.write(folder / speaker / "a.flac", audio[:40_000], 16_000)
        soundfile.write(folder / speaker / "b.wav", audio[40_000:], 16_000)
    soundfile.write(folder / "she" / "short.wav", hello[:300], 16_000)
