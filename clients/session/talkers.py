"""Talker of a live command: a voice that was named, or the last one heard through a microphone."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from clients.audio.endpoints import Source
from clients.errors import ServerError
from facodec.files import write_bytes
from facodec.folders import PRIVATE, personal_folder
from facodec.identity import ModelIdentity, ModelMismatch, model_of
from facodec.profiles import SUFFIX, profile_bytes, read_profile
from facodec.reasons import FileError, shown, why

MOST = 3
"""Models whose talker is tried where nobody can say which one the server has."""
Tell = Callable[[str], None]


class RememberedTalkers:
    """The last talker of each microphone and model: a folder of voice profiles of the user's own,
    whose names do not tell the microphone's. ``tell`` gets sentences on what cannot be read or
    kept, which is no reason to stop."""

    def __init__(self, tell: Tell, folder: Path | None = None) -> None:
        self._tell = tell
        self._folder = folder or state_folder()

    def find(self, microphone: str, model: ModelIdentity | None) -> list[np.ndarray]:
        """Timbres (256,) with their models, the newest first, of those that fit ``model``; None:
        of any."""
        if self._folder is None:
            return []
        found = []
        for path in self._newest(f"{_digest(microphone)}-*{SUFFIX}"):
            try:
                timbre = read_profile(path)
            except FileError as error:
                self._tell(f"the talker remembered of this microphone is ignored: {error}")
                continue
            theirs = model_of(timbre)
            if theirs is not None and theirs.weights and (model is None or theirs.fits(model)):
                found.append(timbre)
        return found[:MOST]

    def keep(self, microphone: str, timbre: np.ndarray) -> None:
        """Remember the timbre (256,), in place of what was remembered for its model; one that does
        not say its model's weights is not kept."""
        model = model_of(timbre)
        if self._folder is None or model is None or not model.weights:
            return
        path = self._folder / f"{_digest(microphone)}-{model}{SUFFIX}"
        try:
            self._folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            write_bytes(path, profile_bytes(timbre))
        except FileError as error:
            self._tell(f"the talker is not remembered: {error}")
        except OSError as error:
            self._tell(f"the talker is not remembered: cannot write {shown(path)}: {why(error)}")

    def _newest(self, pattern: str) -> list[Path]:
        assert self._folder is not None
        try:
            paths = [(path.stat().st_mtime, path) for path in self._folder.glob(pattern)]
        except OSError as error:
            self._tell(f"no talker is remembered: cannot read {shown(self._folder)}: {why(error)}")
            return []
        return [path for _, path in sorted(paths, reverse=True)]


class SourceTalker:
    """Talker of a live command, as far as known before.

    ``given``: timbre (256,), or the name of a voice that the server knows. ``memory``: where the
    talkers of microphones are kept, None to leave it alone. ``model``: the session's, None where
    the server has yet to tell. ``encodes``: the estimates begin in an encoder here.
    """

    def __init__(
        self,
        given: np.ndarray | str | None = None,
        memory: RememberedTalkers | None = None,
        model: ModelIdentity | None = None,
        encodes: bool = False,
        tell: Tell = lambda sentence: None,
    ) -> None:
        self._given = given
        self._memory = memory
        self._model = model
        self._encodes = encodes
        self._tell = tell
        self._microphone: str | None = None
        self._remembered: list[np.ndarray] = []

    @property
    def for_server(self) -> np.ndarray | str | None:
        """The talker that the server begins with: timbre (256,), a name that it knows, or None."""
        return None if self._encodes else self.known

    @property
    def for_encoder(self) -> np.ndarray | None:
        """The talker that the encoder here begins with: timbre (256,) or None."""
        known = self.known
        return known if self._encodes and not isinstance(known, str) else None

    def meet(self, source: Source | None) -> None:
        """Takes the source of the sound: only a microphone's talkers are remembered."""
        if self._memory is None or source is None or not source.live:
            return
        self._microphone = source.name
        if self._given is None:
            self._remembered = self._memory.find(source.name, self._model)
        if self._remembered:
            self._tell(
                "begins with the voice last heard through this microphone (--talker none: with "
                "nobody's)"
            )

    @property
    def known(self) -> np.ndarray | str | None:
        """The talker as far as known: timbre (256,), or a name that the server knows."""
        return self._remembered[0] if self._remembered else self._given

    async def attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, again where a remembered talker turns out to be of another model."""
        while True:
            try:
                await work()
                return
            except (ModelMismatch, ServerError) as error:
                code = getattr(error, "code", "model-mismatch")
                if code != "model-mismatch" or not self._remembered:
                    raise
                del self._remembered[0]

    def heard(self, timbre: np.ndarray | None) -> None:
        """A session has ended in which this talker (256,) was heard; None: not enough of him."""
        if timbre is not None and self._memory is not None and self._microphone is not None:
            self._memory.keep(self._microphone, timbre)


def state_folder() -> Path | None:
    """``$XDG_STATE_HOME/facodec/talkers``; None for a user without a home."""
    return personal_folder("XDG_STATE_HOME", ".local/state", "talkers")


def _digest(microphone: str) -> str:
    return hashlib.sha256(microphone.encode("utf-8", "surrogateescape")).hexdigest()[:16]
