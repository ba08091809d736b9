"""Voices by name: profiles in the user's configuration, and what ``--voice`` can mean."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.connection import connect
from clients.errors import ClientError, UsageError
from clients.packets import VoicePacket
from clients.references import read_reference, several_people
from facodec.files import (
    Replacement,
    need_folder,
    need_writable,
    read_bytes,
    read_text,
    shown,
)
from facodec.folders import base_directory
from facodec.weights import bundled_path
from facodec.weights.voices import voice_notes
from streaming.protocol import VOICE_EXACT_BYTES, ProtocolError, Voice, voice_vector
from streaming.voices import SUFFIX

NAME = re.compile(r"[^\W_][\w.-]{0,63}")
"""Letters and digits of any script."""
ENROL_TIMEOUT = 60.0
LARGEST_NOTES = 1 << 16
LONGEST_NAME = 200
"""Bytes of a name, which the name of a file must hold."""
Tell = Callable[[str], None]


def say(sentence: str) -> None:
    """A line for the user, on standard error."""
    print(sentence, file=sys.stderr, flush=True)


SAMPLES = Path(__file__).resolve().parent / "samples"
BUNDLED = {"slt": SAMPLES / "hello.flac", "rms": SAMPLES / "reply.flac"}
"""Voices that come with the package, as recordings, so that they fit every model: a woman and a
man, made with the speech synthesiser Flite."""


@dataclass(frozen=True)
class Profile:
    """A saved voice. ``model``: whose timbre it is, and ``source``: the recording it came from,
    both "" where that was not noted."""

    name: str
    path: Path
    model: str
    source: str

    def timbre(self) -> np.ndarray:
        """(256,) float32. Raises ClientError for a damaged profile, FileError for one that cannot
        be read."""
        try:
            return voice_vector(read_bytes(self.path, VOICE_EXACT_BYTES))
        except ProtocolError as error:
            raise ClientError(
                f"the voice profile {shown(self.path)} is damaged: {error.sentence}"
            ) from error


class Profiles:
    """A folder of ``NAME.voice`` files, readable by ``facodec serve --voices`` too, with notes
    beside them. Without a home there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_folder()

    def list(self) -> list[Profile]:
        if self.folder is None:
            return []
        return [self._profile(path) for path in sorted(self.folder.glob(f"*{SUFFIX}"))]

    def find(self, name: str) -> Profile | None:
        if self.folder is None or not _is_name(name):
            return None
        path = self.folder / f"{_composed(name)}{SUFFIX}"
        return self._profile(path) if path.exists() else None

    def check_new(self, name: str, *, replace: bool) -> Path:
        """Where a voice of this name is kept. Raises UsageError where it cannot have it or there
        is one that must not be replaced, FileError where it cannot be written."""
        check_name(name)
        if self.folder is None:
            raise ClientError("expected a home or $XDG_CONFIG_HOME to save in, got neither")
        need_folder(self.folder)
        path = self.folder / f"{_composed(name)}{SUFFIX}"
        if path.exists() and not replace:
            raise UsageError(f"there is a saved voice {name!r} already: --replace replaces it")
        need_writable(path)
        return path

    def add(
        self, name: str, timbre: np.ndarray, *, model: str, source: str, replace: bool = False
    ) -> Profile:
        """Save timbre (256,) under a name, wholly or not at all. Raises like :meth:`check_new`."""
        path = self.check_new(name, replace=replace)
        notes = json.dumps({"model": model, "source": source}) + "\n"
        with Replacement(path.with_suffix(".json")) as beside, Replacement(path) as voice:
            beside.write(notes.encode())
            voice.write(Voice.exact(timbre).data)
        return self._profile(path)

    def remove(self, name: str) -> None:
        """Raises UsageError where there is none of this name."""
        profile = self.find(name)
        if profile is None:
            known = ", ".join(p.name for p in self.list()) or "none"
            raise UsageError(f"there is no saved voice {name!r}; saved are: {known}")
        profile.path.unlink()
        profile.path.with_suffix(".json").unlink(missing_ok=True)

    def _profile(self, path: Path) -> Profile:
        beside = path.with_suffix(".json")
        notes: object = {}
        if beside.exists():
            try:
                notes = json.loads(read_text(beside, LARGEST_NOTES))
            except (ValueError, RecursionError) as error:
                raise ClientError(f"{shown(beside)} is damaged: {error}") from error
        if not isinstance(notes, dict):
            raise ClientError(f"{shown(beside)} is damaged: expected names and values")
        return Profile(path.stem, path, str(notes.get("model", "")), str(notes.get("source", "")))


def user_folder() -> Path | None:
    """``$XDG_CONFIG_HOME/facodec/voices``, by the XDG base directory specification; None for a user
    without a home."""
    try:
        return base_directory("XDG_CONFIG_HOME", ".config") / "facodec" / "voices"
    except OSError:
        return None


def check_name(name: str) -> None:
    """Raises UsageError for what cannot name a voice."""
    if not _is_name(name) or "." in name or len(_composed(name).encode()) > LONGEST_NAME:
        raise UsageError(
            f"{shown(name)!r} cannot name a voice: use up to 64 letters, digits, '_' and '-'"
        )


def is_file(voice: str) -> bool:
    """Whether ``--voice`` means a recording rather than a name."""
    return "/" in voice or not _is_name(voice) or "." in voice or Path(voice).exists()


def voice_file(voice: str | None) -> Path | None:
    """The recording that ``--voice`` means, None for a name or none."""
    return Path(voice) if voice is not None and is_file(voice) else None


def shadowed(name: str) -> str | None:
    """A sentence where a saved voice of this name hides a bundled one."""
    if name in BUNDLED or name in voice_notes(bundled_path()):
        return f"the saved voice {name!r} now hides the bundled voice of that name"
    return None


def _is_name(text: str) -> bool:
    return NAME.fullmatch(_composed(text)) is not None


def _composed(name: str) -> str:
    """One spelling for letters that Unicode can write in two ways (ö, o and its dots)."""
    return unicodedata.normalize("NFC", name)


@dataclass(frozen=True, eq=False)
class Enrolled:
    """A voice (256,) and the model it is for."""

    timbre: np.ndarray
    model: str


async def enrol(
    path: Path,
    url: str,
    *,
    model: str | None,
    token: str | None,
    ca: str | None = None,
    tell: Tell = say,
) -> Enrolled:
    """The voice in a recording, worked out by a server; ``tell`` gets remarks on its quality."""
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
                return Enrolled(packet.timbre, session.ready.model)
    raise ClientError(f"the server sent no voice for {shown(path)}")


def enrol_here(path: Path, model: str | None, tell: Tell = say) -> Enrolled:
    """The voice in a recording, worked out in this process."""
    from clients.local import load_codec

    reference = read_reference(path)
    codec = load_codec(model)
    for found in reference.remarks:
        tell(found)
    if remark := several_people(codec.talkers_alike(reference.samples)):
        tell(f"{shown(path)}: {remark}")
    return Enrolled(codec.voice(reference.samples), codec.name)


async def resolve(
    voice: str | None,
    url: str,
    *,
    model: str | None,
    token: str | None,
    ca: str | None = None,
) -> np.ndarray | str | None:
    """What ``--voice`` means: a recording, enrolled by the server; a saved voice; a bundled one;
    or a name that the server may know."""
    if voice is None:
        return None
    if is_file(voice):
        return (await enrol(Path(voice), url, model=model, token=token, ca=ca)).timbre
    profile = Profiles().find(voice)
    if profile is not None:
        return profile.timbre()
    if voice in BUNDLED:
        return (await enrol(BUNDLED[voice], url, model=model, token=token, ca=ca)).timbre
    return voice
