"""Clips of speech as whole WAV files; clients write what comes bit by bit with
:class:`clients.audio.files.AudioWriter`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE
from facodec.files import write_bytes


def write_wav(path: Path, samples: NDArray[np.float32]) -> None:
    """Writes samples (n,) at 16 kHz with 16 bits, wholly or not at all. Raises FileError."""
    data = io.BytesIO()
    soundfile.write(data, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    write_bytes(path, data.getvalue())
