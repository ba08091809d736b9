"""Voices by name: profiles in the user's configuration, and what ``--voice`` can mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clients.errors import ClientError, UsageError
from clients.library.connection import connect
from clients.library.packets import VoicePacket
from clients.offline.references import read_reference, several_people
from facodec.files import Replacement, folder_fault, need_folder, need_writable
from facodec.folders import personal_folder
from facodec.identity import ModelIdentity, model_of
from facodec.names import RULE, composed, did_you_mean, is_anonymous, is_name, with_seed
from facodec.profiles import SUFFIX, profile_bytes, read_notes, read_profile
from facodec.reasons import ABSENT, FileError, shown
from facodec.weights import bundled_path
from facodec.weights.timbres import voice_notes

if TYPE_CHECKING:
    from facodec.codec import Codec

ENROL_TIMEOUT = 60.0
NOBODY = "none"
"""The value of ``--talker`` for nobody, and therefore no name of a voice."""
Tell = Callable[[str], None]


def say(sentence: str) -> None:
    """A line for the user, on standard error."""
    print(sentence, file=sys.stderr, flush=True)


_say_once = cache(say)
SAMPLES = Path(__file__).resolve().parent / "samples"
BUNDLED = {"slt": SAMPLES / "hello.flac", "rms": SAMPLES / "reply.flac"}
"""Voices that come with the package, as recordings, so that they fit every model: a woman and a
man, made with the speech synthesiser Flite."""
HEARD = {"slt": "woman, speech synthesiser, American", "rms": "man, speech synthesiser, American"}
"""A few words on each of these."""


@dataclass(frozen=True)
class Profile:
    """A saved voice. ``source``: the recording it came from, "" where that was not noted."""

    name: str
    path: Path
    source: str

    @property
    def model(self) -> ModelIdentity | None:
        """The model that it was made with, where that is known. Raises FileError."""
        return model_of(self.timbre())

    def timbre(self) -> np.ndarray:
        """(256,) float32, with its model. Raises FileError for a profile that is damaged or cannot
        be read."""
        return read_profile(self.path)

    def timbre_to_use(self, tell: Tell) -> np.ndarray:
        """Reads like :meth:`timbre`; ``tell`` hears where the model is not wholly known."""
        timbre = self.timbre()
        model = model_of(timbre)
        if model is None or not model.weights:
            tell(
                f"the saved voice {self.name!r} does not say which model "
                f"{'' if model is None else f'named {model.name!r} '}it was made with: taken to "
                "be that in use; to be sure, save it again with facodec voices add --replace"
            )
        return timbre


class Profiles:
    """A folder of ``NAME.voice`` files, readable by ``facodec serve --voices`` too, with notes
    beside them. Without a home there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_folder()

    def list(self) -> list[Profile]:
        return [self._profile(path) for path in self._paths()]

    def names(self) -> Sequence[str]:
        """Names of all, of damaged ones too."""
        return [path.stem for path in self._paths()]

    def find(self, name: str) -> Profile | None:
        if self.folder is None or not is_name(name) or not self._is_readable():
            return None
        path = self.folder / f"{composed(name)}{SUFFIX}"
        return self._profile(path) if path.exists() else None

    def check_new(self, name: str, *, replace: bool) -> Path:
        """Returns the file for a new voice of this name. Raises UsageError where it cannot have it
        or there is one that must not be replaced, FileError where it cannot be written."""
        check_name(name)
        if self.folder is None:
            raise ClientError("expected a home or $XDG_CONFIG_HOME to save in, got neither")
        need_folder(self.folder)
        path = self.folder / f"{composed(name)}{SUFFIX}"
        if path.exists() and not replace:
            raise UsageError(f"there is a saved voice {name!r} already: --replace replaces it")
        need_writable(path)
        return path

    def add(self, name: str, timbre: np.ndarray, *, source: str, replace: bool = False) -> Profile:
        """Save timbre (256,), with the model it carries, under a name, wholly or not at all. Raises
        like :meth:`check_new`."""
        path = self.check_new(name, replace=replace)
        notes = json.dumps({"source": source}) + "\n"
        with Replacement(path.with_suffix(".json")) as beside, Replacement(path) as voice:
            beside.write(notes.encode())
            voice.write(profile_bytes(timbre))
        return self._profile(path)

    def remove(self, name: str) -> None:
        """Raises UsageError where there is none of this name."""
        profile = self.find(name)
        if profile is None:
            known = self.names()
            raise UsageError(
                f"there is no saved voice {name!r}; saved are: {', '.join(known) or 'none'}"
                f"{did_you_mean(name, known)}"
            )
        profile.path.unlink()
        profile.path.with_suffix(".json").unlink(missing_ok=True)

    def _paths(self) -> Sequence[Path]:
        if self.folder is None or not self._is_readable():
            return []
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def _is_readable(self) -> bool:
        """Whether the folder can be looked through; a user without rights there (another's home)
        is told, and does without."""
        fault = folder_fault(self.folder or "")
        if fault is not None and fault != ABSENT:
            _say_once(f"no saved voice is used: the folder {shown(self.folder)} {fault}")
        return fault is None

    def _profile(self, path: Path) -> Profile:
        try:
            source = shown(read_notes(path).get("source", ""))
        except FileError:
            source = "(its notes are damaged)"
        return Profile(path.stem, path, source)


def user_folder() -> Path | None:
    """``$XDG_CONFIG_HOME/facodec/voices``; None for a user without a home."""
    return personal_folder("XDG_CONFIG_HOME", ".config", "voices")


def check_name(name: str) -> None:
    """Raises UsageError for what cannot name a voice."""
    if is_anonymous(name):
        raise UsageError(f"{name!r} is what a fresh voice of nobody is called: use another name")
    if not is_name(name) or "." in name:
        raise UsageError(
            f"{shown(name)!r} cannot name a voice: use up to 64 letters, digits, '_' and '-'"
        )
    if name.casefold() == NOBODY:
        raise UsageError(f"{name!r} cannot name a voice: --talker {NOBODY} means nobody")


def is_file(voice: str) -> bool:
    """Whether ``--voice`` means a recording rather than a name."""
    if is_anonymous(voice):
        return False
    return "/" in voice or not is_name(voice) or "." in voice or Path(voice).exists()


def known_voices(bundled: Iterable[str] | None = None) -> list[str]:
    """Names of the voices that are known here: those saved, the ``bundled`` ones of the model in
    use, by default the bundled model's, and those that fit any model."""
    own = voice_notes(bundled_path()) if bundled is None else bundled
    return [*Profiles().names(), *own, *BUNDLED]


def no_such_voice(name: str, known: Sequence[str]) -> UsageError:
    """The error for a name that none of the known voices has."""
    return UsageError(
        f"there is no voice {name!r}; known are: {', '.join(known)}{did_you_mean(name, known)}"
    )


def voice_file(voice: str | None) -> Path | None:
    """The recording that ``--voice`` means, None for a name or none."""
    return Path(voice) if voice is not None and is_file(voice) else None


def shadowed(name: str, model: str | None = None) -> str | None:
    """A sentence where a saved voice of this name hides one that is bundled, or that comes with
    the weights in the folder ``model``."""
    if name in BUNDLED or name in voice_notes(bundled_path()):
        return f"the saved voice {name!r} now hides the bundled voice of that name"
    if model is not None and name in voice_notes(Path(model)):
        return f"the saved voice {name!r} now hides the one that comes with {shown(model)}"
    return None


def check_room(name: str | None) -> None:
    """Raises UsageError for what cannot name a room."""
    if name is not None and not is_name(name):
        raise UsageError(f"{shown(name)!r} cannot name a room: use {RULE}")


async def enrol(
    path: Path,
    url: str,
    *,
    model: str | None,
    token: str | None,
    ca: str | None = None,
    tell: Tell = say,
) -> np.ndarray:
    """The voice (256,) in a recording, with its model, worked out by a server; ``tell`` gets
    remarks on its quality."""
    reference = read_reference(path)
    for found in reference.remarks:
        tell(found)
    async with connect(url, role="enroll", model=model, token=token, ca=ca) as session:
        await session.send_audio(reference.samples)
        await session.finish(ENROL_TIMEOUT)
        async for packet in session:
            if isinstance(packet, VoicePacket):
                if remark := several_people(packet.alike):
                    tell(f"{shown(path)}: {remark}")
                return packet.timbre
    raise ClientError(f"the server sent no voice for {shown(path)}")


def enrol_here(path: Path, model: str | None, tell: Tell = say) -> np.ndarray:
    """The voice (256,) in a recording, with its model, worked out in this process."""
    from clients.offline.local import load_codec

    reference = read_reference(path)
    codec = load_codec(model)
    for found in reference.remarks:
        tell(found)
    if remark := several_people(codec.talkers_alike(reference.samples)):
        tell(f"{shown(path)}: {remark}")
    return heard_voice(codec, reference.samples, path)


def heard_voice(codec: Codec, samples: np.ndarray, path: Path) -> np.ndarray:
    """The voice (256,) that the codec hears in samples (n,) of a recording. Raises ClientError
    where it hears no speech."""
    try:
        return codec.voice(samples)
    except ValueError as error:
        raise ClientError(f"{shown(path)}: {error}") from error


async def resolve(
    voice: str | None,
    url: str,
    *,
    model: str | None,
    token: str | None,
    ca: str | None = None,
) -> np.ndarray | str | None:
    """Resolves ``--voice``: a recording, enrolled by the server; a saved voice; a bundled one; a
    name that the server may know; or a voice of nobody, from now on with its seed."""
    if voice is None:
        return None
    if is_anonymous(voice):
        return with_seed(voice)
    if is_file(voice):
        return await enrol(Path(voice), url, model=model, token=token, ca=ca)
    profile = Profiles().find(voice)
    if profile is not None:
        return profile.timbre_to_use(say)
    if voice in BUNDLED:
        return await enrol(BUNDLED[voice], url, model=model, token=token, ca=ca)
    return voice
