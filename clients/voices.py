"""Voices by name: profiles in the user's configuration, and what ``--voice`` can mean."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.connection import connect
from clients.errors import ClientError, UsageError
from clients.files import read_audio
from clients.packets import VoicePacket
from facodec.config import HOP, SAMPLE_RATE
from facodec.folders import base_directory
from streaming.protocol import ProtocolError, Voice, voice_vector
from streaming.voices import SUFFIX

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHORTEST_REFERENCE = 0.5
LONGEST_REFERENCE = 60
"""Seconds; more of a recording says nothing new about a voice and is left out."""
LEAST_SOUND, QUIET = 0.25, 60.0
"""Seconds that a recording of a voice has to be louder than so many dB below full scale."""
ENROL_TIMEOUT = 60.0
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
        """(256,) float32. Raises ClientError for a damaged profile."""
        try:
            return voice_vector(self.path.read_bytes())
        except (OSError, ProtocolError) as error:
            raise ClientError(f"the voice profile {self.path} is damaged: {error}") from error


class Profiles:
    """A folder of ``NAME.voice`` files, readable by ``facodec serve --voices`` too, with notes
    beside them."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_folder()

    def list(self) -> list[Profile]:
        if self.folder is None:
            return []
        return [self._profile(path) for path in sorted(self.folder.glob(f"*{SUFFIX}"))]

    def find(self, name: str) -> Profile | None:
        if self.folder is None or not NAME.fullmatch(name):
            return None
        path = self.folder / f"{name}{SUFFIX}"
        return self._profile(path) if path.exists() else None

    def add(self, name: str, timbre: np.ndarray, *, model: str, source: str) -> Profile:
        """Save timbre (256,) under a name, replacing an older one. Raises UsageError."""
        check_name(name)
        if self.folder is None:
            raise UsageError("expected a home or $XDG_CONFIG_HOME to save in, got neither")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}{SUFFIX}"
        path.write_bytes(Voice.exact(timbre).data)
        path.with_suffix(".json").write_text(json.dumps({"model": model, "source": source}) + "\n")
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
        notes: dict[str, str] = {}
        beside = path.with_suffix(".json")
        if beside.exists():
            try:
                notes = json.loads(beside.read_text())
            except ValueError as error:
                raise ClientError(f"{beside} is damaged: {error}") from error
        return Profile(path.stem, path, notes.get("model", ""), notes.get("source", ""))


def user_folder() -> Path | None:
    """``$XDG_CONFIG_HOME/facodec/voices``, by the XDG base directory specification; None for a user
    without a home."""
    try:
        return base_directory("XDG_CONFIG_HOME", ".config") / "facodec" / "voices"
    except OSError:
        return None


def check_name(name: str) -> None:
    """Raises UsageError for what cannot name a voice."""
    if not NAME.fullmatch(name) or "." in name:
        raise UsageError(
            f"{name!r} cannot name a voice: use up to 64 letters, digits, '_' and '-'"
        )


def is_file(voice: str) -> bool:
    """Whether ``--voice`` means a recording rather than a name."""
    return Path(voice).exists() or "/" in voice or not NAME.fullmatch(voice) or "." in voice


@dataclass(frozen=True, eq=False)
class Enrolled:
    """A voice (256,) and the model it is for."""

    timbre: np.ndarray
    model: str


async def enrol(
    path: Path, url: str, *, model: str | None, token: str | None, ca: str | None = None
) -> Enrolled:
    """The voice in a recording, worked out by a server."""
    samples = read_reference(path)
    async with connect(url, role="enroll", model=model, token=token, ca=ca) as session:
        await session.send_audio(samples)
        await session.finish(ENROL_TIMEOUT)
        async for packet in session:
            if isinstance(packet, VoicePacket):
                return Enrolled(packet.timbre, session.ready.model)
    raise ClientError(f"the server sent no voice for {path}")


def enrol_here(path: Path, model: str | None) -> Enrolled:
    """The voice in a recording, worked out in this process."""
    from clients.local import load_codec

    samples = read_reference(path)
    codec = load_codec(model)
    return Enrolled(codec.voice(samples), codec.name)


def read_reference(path: Path) -> np.ndarray:
    """A recording of a voice, long enough to say something about it. Raises ClientError."""
    samples = read_audio(path)
    if len(samples) < SHORTEST_REFERENCE * SAMPLE_RATE:
        raise ClientError(
            f"{path} is too short for a voice: {len(samples) / SAMPLE_RATE:.2f} s, "
            f"wanted at least {SHORTEST_REFERENCE:g} s and better 3 s or more"
        )
    kept = samples[: LONGEST_REFERENCE * SAMPLE_RATE]
    heard = seconds_of_sound(kept)
    if heard < LEAST_SOUND:
        raise ClientError(
            f"{path} is nearly silent: {heard:.2f} s of it are louder than {QUIET:g} dB below full "
            f"scale, wanted at least {LEAST_SOUND:g} s"
        )
    return kept


def seconds_of_sound(samples: np.ndarray) -> float:
    """How much of samples (n,) is louder than :data:`QUIET`, judged hop by hop."""
    hops = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    loud = np.sqrt((hops**2).mean(axis=1)) > 10 ** (-QUIET / 20)
    return float(loud.sum()) * HOP / SAMPLE_RATE


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
