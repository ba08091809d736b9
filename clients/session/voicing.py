"""Voice of a live command: with what each of its sessions is opened, how it changes while one goes
on, and which voices there are to choose from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from clients.errors import ClientError, ServerError, UsageError
from clients.library.asking import ask
from clients.library.session import Session
from clients.offline.voicebook import Profiles
from clients.session.controls import Choice, Controls
from clients.session.live_options import LiveOptions
from clients.session.talkers import SourceTalker
from facodec.identity import ModelMismatch
from facodec.names import is_anonymous, with_seed
from facodec.reasons import FileError, shown
from streaming.wire.protocol import Role

if TYPE_CHECKING:
    from clients.offline.local import LocalCodec

REFUSED = ("unknown-voice", "model-mismatch", "bad-voice")
"""Codes of errors by which a server refuses a voice."""
WHOSE_PITCH = (
    "the pitch of your own voice can be moved where it is known: say who talks with --talker, or "
    "choose another voice (facodec convert --voice)"
)


PATIENCE = 2.0
"""Seconds that a server has to tell which voices it knows."""


@runtime_checkable
class Aiming(Protocol):
    """An encoder here that converts."""

    def aim(self, voice: np.ndarray, shift: float = 0.0) -> None:
        """Another voice (256,) from the next frame on, so many semitones higher."""


class Voicing:
    """Follows the controls. ``talker``: what is known of who talks; ``local``: the codec here, None
    where the server computes; ``tell``: gets a sentence on what cannot be."""

    def __init__(
        self,
        options: LiveOptions,
        controls: Controls,
        talker: SourceTalker,
        local: LocalCodec | None,
        tell: Callable[[str], None],
    ) -> None:
        self._options = options
        self._controls = controls
        self._talker = talker
        self._local = local
        self._tell = tell
        self._held = self._wanted
        self._before: tuple[Choice, float] | None = None
        self.role: Role = options.role
        """Role of the session."""
        self.voice: np.ndarray | str | None = options.voice
        """Voice that its hello asks for."""

    @property
    def _wanted(self) -> tuple[Choice, float]:
        return self._controls.chosen, self._controls.shift

    def prepare(self) -> None:
        """Decides on role and voice of the next session. Raises UsageError where the talker's own
        voice is to be moved and not known."""
        options, (choice, shift) = self._options, self._wanted
        try:
            self._target(choice, shift)
        except UsageError as error:
            if shift == options.shift:
                raise
            self._tell(str(error))  # a key that came before the session
            shift = options.shift
            self._controls.set_back(choice, shift)
        self.role, self.voice = self._role(shift), options.voice
        self._held = self._wanted
        if options.converts_here:
            self.voice = None
        elif self.role == "convert":
            self.voice = self._target(choice, shift)

    def _role(self, shift: float) -> Role:
        """The role that gives what is wanted: who talks with his own voice needs no conversion, and
        a session with a voice of nobody converts in any role."""
        role = self._options.role
        if self._options.converts_here:
            return "loopback" if role == "convert" else role
        if role != "loopback" or is_anonymous(self._options.voice):
            return role
        return role if self._controls.is_first and not shift else "convert"

    def _target(self, choice: Choice, shift: float) -> np.ndarray | str | None:
        target = self._talker.known if choice.voice is None else choice.voice
        if target is None and shift:
            raise UsageError(WHOSE_PITCH)
        return target

    async def begin(self, session: Session, encoder: object) -> None:
        """Sends what has no place in a hello. ``encoder``: of the client's own, if any."""
        choice, shift = self._held
        changed = not self._controls.is_first or shift != 0
        if shift != 0 if self.role == "convert" else changed:
            await self._send(session, encoder, self._target(choice, shift), shift)

    async def follow(self, session: Session, encoder: object) -> bool:
        """Brings the session to the voice that is wanted; returns whether it can have it: if not,
        the next one is to."""
        if self._wanted == self._held:
            return True
        (choice, shift), before = self._wanted, self._held
        try:
            target = self._target(choice, shift)
            if self._role(shift) == self.role:
                await self._send(session, encoder, target, shift)
        except (UsageError, ModelMismatch) as error:
            self._tell(str(error))
            self._controls.set_back(*before)
            return True
        self._held, self._before = self._wanted, before
        return self._role(shift) == self.role

    async def _send(
        self, session: Session, encoder: object, target: np.ndarray | str | None, shift: float
    ) -> None:
        if target is None:
            return
        if isinstance(encoder, Aiming) and self._local is not None:
            encoder.aim(self._local.timbre(target, self._talker.for_encoder), shift)
        else:
            await session.send_voice(target, shift=shift)

    def take_back(self, error: Exception) -> bool:
        """Goes back to the voice before the last where that one was refused, by the server or
        here; returns whether it did."""
        refused = isinstance(error, ModelMismatch) or (
            isinstance(error, ServerError) and error.code in REFUSED
        )
        if not refused or self._before is None:
            return False
        self._controls.set_back(*self._before)
        self._before = None
        self._tell(str(error))
        return True


async def offered(options: LiveOptions, local: LocalCodec | None) -> list[Choice]:
    """Voices to choose from: those saved here, then those that the session's model or its server
    knows; the latter are left out where the server does not say."""
    choices = []
    for profile in Profiles().list():
        try:
            choices.append(Choice(profile.name, profile.timbre()))
        except FileError:  # damaged: whoever asks for it by name is told
            continue
    if options.converts_here and local is not None:
        return choices + [Choice(name, name) for name in sorted(local.codec.voices)]
    try:
        told = await asyncio.to_thread(
            ask, options.url, "healthz", token=options.token, ca=options.ca, timeout=PATIENCE
        )
    except ClientError:  # whoever connects is told
        return choices
    names = told.get("voices")
    known = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return choices + [
        Choice(shown(name), with_seed(name) if is_anonymous(name) else name) for name in known
    ]
