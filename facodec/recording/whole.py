"""A short recording at once: one voice, no gaps, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import Codes
from facodec.files import Replacement
from facodec.identity import ModelIdentity, belonging
from facodec.reasons import FileError, shown
from facodec.recording.blocks import FramesBlock, Header, VoiceBlock
from facodec.recording.reading import Recording
from facodec.recording.scan import Lost
from facodec.recording.writing import BlockWriter


@dataclass(frozen=True)
class FacFile:
    """A recording as codes: codes (K, n), timbre (256,), the model that both belong to and how
    many samples are speech (``samples`` <= 200 n), the last frame being filled up."""

    codes: Codes
    timbre: NDArray[np.float32]
    model: ModelIdentity
    samples: int

    def write(self, path: Path | str) -> int:
        """Writes a ``.fac`` file, wholly or not at all; returns its bytes. Raises FileError."""
        with Replacement(Path(path)) as aside:
            writer = BlockWriter(aside.write, Header(self.model))
            writer.voice(self.timbre, exact=True)
            writer.push(self.codes)
            writer.end(self.samples)
        return writer.size

    @classmethod
    def read(cls, path: Path | str) -> FacFile:
        """Read a ``.fac`` file of any version; one without an ``identity`` says the model's name
        alone. A FileError for one that is missing, damaged, cut short or not yet ended, and for
        one with gaps or several voices: :class:`facodec.recording.reading.Recording` reads
        those."""
        with Recording(Path(path)) as recording:
            codes, timbre = _contents(recording)
            if not recording.ended:
                raise FileError(f"{shown(recording.path)} is damaged or cut short: it has no end")
            model = recording.header.model
        return cls(belonging(codes, model), belonging(timbre, model), model, recording.samples)


def _contents(recording: Recording) -> tuple[Codes, NDArray[np.float32]]:
    parts: list[Codes] = []
    voices: list[NDArray[np.float32]] = []
    end, named = 0, shown(recording.path)
    for item in recording.items():
        if isinstance(item, Lost):
            raise FileError(f"{named} is damaged or cut short: {item}")
        if isinstance(item, VoiceBlock):
            voices.append(item.timbre)
        elif isinstance(item, FramesBlock):
            if item.start != end or (parts and len(item.codes) != len(parts[0])):
                raise FileError(f"{named} has gaps: expected frames without one")
            parts.append(item.codes)
            end = item.end
    if not parts or len(voices) != 1:
        raise FileError(f"{named}: expected frames in one voice, got {len(voices)} voices")
    return np.concatenate(parts, axis=1), voices[0]
