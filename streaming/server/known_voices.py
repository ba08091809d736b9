"""Voices a server knows by name: profiles in a directory, one ``NAME.voice`` file each, and
those that come with a model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from facodec.codec import Codec
from facodec.files import shown
from facodec.identity import AGAIN, ModelIdentity, model_of
from facodec.names import anonymous_seed, composed, is_anonymous
from facodec.profiles import SUFFIX, read_profile
from facodec.weights import bundled_path
from facodec.weights.timbres import voice_notes
from streaming.wire.belonging import need_own
from streaming.wire.protocol import ProtocolError, voice_vector

log = logging.getLogger(__name__)


class Voices:
    """The profiles in ``directory``, read once; none where there is no directory.

    Raises ValueError for a directory that is not there, a profile that is damaged and two of one
    name."""

    def __init__(self, directory: str | None) -> None:
        if directory is not None and not Path(directory).is_dir():
            raise ValueError(f"the voice directory {shown(directory)} does not exist")
        files = [] if directory is None else sorted(Path(directory).glob(f"*{SUFFIX}"))
        self._voices: dict[str, np.ndarray] = {}
        for path in files:
            name = composed(path.stem)
            if name in self._voices:
                raise ValueError(
                    f"the voice directory {shown(directory)} has two voices {shown(name)!r}"
                )
            if is_anonymous(name):
                raise ValueError(f"{shown(path)}: {name!r} is what a voice of nobody is called")
            self._voices[name] = read_profile(path)
            model = model_of(self._voices[name])
            if model is None or not model.weights:
                log.warning("%s does not say its model's weights: taken to fit", shown(path))

    @property
    def names(self) -> list[str]:
        return sorted(self._voices)

    def find(
        self, voice: bytes | str | None, bundled: Mapping[str, np.ndarray], model: ModelIdentity
    ) -> np.ndarray | None:
        """The timbre (256,) float32 that hello's ``voice`` means, ``model`` and ``bundled`` being
        the session's model and its voices. Raises ProtocolError."""
        if voice is None:
            return None
        if isinstance(voice, bytes):
            return voice_vector(voice)
        known = {**bundled, **self._voices}
        if voice not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ProtocolError("unknown-voice", f"no voice {voice!r} here, known: {names}")
        need_own(f"the server's voice {voice!r} was", model_of(known[voice]), model, AGAIN)
        return known[voice]


def draw_anonymous(codec: Codec, name: str, talker: np.ndarray | None) -> np.ndarray:
    """The voice of nobody (256,) that hello's ``voice`` asks for. Raises ProtocolError."""
    try:
        return codec.anonymous_voice(talker, anonymous_seed(name))
    except ValueError as error:
        raise ProtocolError("unknown-voice", f"no voice {name!r} here: {error}") from error


def about_voices(names: Iterable[str]) -> dict[str, str]:
    """A few words on each of these voices that comes with the bundled model."""
    notes = voice_notes(bundled_path())
    return {name: str(notes[name]["about"]) for name in names if name in notes}
