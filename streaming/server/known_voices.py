"""Voices a server knows by name: profiles in a directory, one ``NAME.voice`` file each, and
those that come with a model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from facodec.codec import Codec
from facodec.files import Replacement, folder_fault
from facodec.identity import AGAIN, ModelIdentity, belonging, model_of
from facodec.names import anonymous_seed, composed, is_anonymous
from facodec.profiles import SUFFIX, profile_bytes, read_profile
from facodec.reasons import FileError, shown
from facodec.weights import bundled_path
from facodec.weights.timbres import voice_notes
from streaming.wire.belonging import need_own
from streaming.wire.protocol import ProtocolError, voice_vector

log = logging.getLogger(__name__)


def profiles_in(directory: str) -> dict[str, np.ndarray]:
    """Timbres (256,) of the profiles in a directory, by name. Raises ValueError as
    :class:`Voices`."""
    fault = folder_fault(directory)
    if fault is not None:
        raise ValueError(f"the voice directory {shown(directory)} {fault}")
    found: dict[str, np.ndarray] = {}
    for path in sorted(Path(directory).glob(f"*{SUFFIX}")):
        name = composed(path.stem)
        if name in found:
            raise ValueError(
                f"the voice directory {shown(directory)} has two voices {shown(name)!r}"
            )
        if is_anonymous(name):
            raise ValueError(f"{shown(path)}: {name!r} is what a voice of nobody is called")
        found[name] = read_profile(path)
    return found


class Voices:
    """The profiles in ``directory``, read once; none where there is no directory. ``most``: clients
    may put more there, until there are so many.

    Raises ValueError for a directory that is not there, a profile that is damaged and two of one
    name."""

    def __init__(self, directory: str | None, most: int | None = None) -> None:
        self._folder = Path(directory or "")
        self._most = most
        self._lock = threading.Lock()
        self._voices = {} if directory is None else profiles_in(directory)
        for name, voice in self._voices.items():
            model = model_of(voice)
            if model is None or not model.weights:
                path = shown(self._folder / f"{name}{SUFFIX}")
                log.warning("%s does not say its model's weights: taken to fit", path)

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
        return self._named(voice, bundled, model)

    def _named(
        self, voice: str, bundled: Mapping[str, np.ndarray], model: ModelIdentity
    ) -> np.ndarray:
        known = {**bundled, **self._voices}
        if voice not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ProtocolError("unknown-voice", f"no voice {voice!r} here, known: {names}")
        need_own(f"the server's voice {voice!r} was", model_of(known[voice]), model, AGAIN)
        return known[voice]

    def profile(self, name: str, bundled: Mapping[str, np.ndarray], model: ModelIdentity) -> bytes:
        """The voice of that name as a file has it. Raises like :meth:`find`."""
        return profile_bytes(belonging(self._named(name, bundled, model), model))

    def need_place(self, name: str, bundled: Iterable[str]) -> None:
        """Raises ProtocolError where no voice can be kept under this name, by the side of those
        that are ``bundled``."""
        if self._most is None:
            raise ProtocolError("forbidden", "this server keeps no voices of its clients")
        if "." in name or is_anonymous(name):
            raise ProtocolError(
                "bad-field",
                f"keep: expected up to 64 letters, digits, '_' and '-', got {name!r}",
            )
        taken = {known.casefold() for known in (*bundled, *self._voices)}
        if name.casefold() in taken or (self._folder / f"{name}{SUFFIX}").exists():
            raise ProtocolError("voice-taken", f"there is a voice {name!r} here already")
        if len(self._voices) >= self._most:
            raise ProtocolError(
                "overloaded", f"this server keeps {self._most} voices, and has as many"
            )

    def keep(self, name: str, bundled: Iterable[str], timbre: np.ndarray) -> None:
        """Puts a timbre (256,), with its model, into the directory under a new name. From any
        thread. Raises ProtocolError like :meth:`need_place`, or where it cannot be written."""
        with self._lock:
            self.need_place(name, bundled)
            try:
                with Replacement(self._folder / f"{name}{SUFFIX}") as file:
                    file.write(profile_bytes(timbre))
            except FileError as error:
                log.error("the voice %r is not kept: %s", name, error)
                raise ProtocolError("internal", "the voice could not be kept") from error
            # Another mapping: the event loop may be going through this one.
            self._voices = {**self._voices, name: timbre}


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
