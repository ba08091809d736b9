"""Voices a server knows by name: profiles in a directory, one ``NAME.voice`` file each, and
those that come with a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from streaming.protocol import VOICE_EXACT_BYTES, ProtocolError, voice_vector

SUFFIX = ".voice"
"""A profile holds the 1024 bytes of an exact voice (256 float32, little-endian), nothing else."""


class Voices:
    """The profiles in ``directory``, read once; none where there is no directory.

    Raises ValueError for a directory that is not there and for a profile of the wrong size."""

    def __init__(self, directory: str | None) -> None:
        if directory is not None and not Path(directory).is_dir():
            raise ValueError(f"the voice directory {directory} does not exist")
        files = [] if directory is None else sorted(Path(directory).glob(f"*{SUFFIX}"))
        self._voices = {path.stem: _read(path) for path in files}

    @property
    def names(self) -> list[str]:
        return sorted(self._voices)

    def find(
        self, voice: bytes | str | None, bundled: Mapping[str, np.ndarray]
    ) -> np.ndarray | None:
        """The timbre (256,) float32 that hello's ``voice`` means, ``bundled`` being those of the
        session's model. Raises ProtocolError."""
        if voice is None:
            return None
        if isinstance(voice, bytes):
            return voice_vector(voice)
        known = {**bundled, **self._voices}
        if voice not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ProtocolError("unknown-voice", f"no voice {voice!r} here, known: {names}")
        return known[voice]


def _read(path: Path) -> np.ndarray:
    data = path.read_bytes()
    if len(data) != VOICE_EXACT_BYTES:
        raise ValueError(f"{path} is not a voice: {len(data)} bytes, wanted {VOICE_EXACT_BYTES}")
    try:
        return voice_vector(data)
    except ProtocolError as error:
        raise ValueError(f"{path} is not a voice: {error.sentence}") from error
