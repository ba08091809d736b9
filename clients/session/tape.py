"""Codes of a room into a file as they come, with the gaps between them as times."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from clients.errors import ClientError
from clients.library.packets import CodesPacket, Packet, VoicePacket
from facodec.config import HOP
from facodec.identity import ModelIdentity
from facodec.reasons import shown
from facodec.recording.blocks import Header
from facodec.recording.timeline import Timeline
from facodec.recording.writing import RecordingFile, open_ahead


class Tape:
    """A ``.fac`` file that takes the packets of one session after another; a context manager,
    which ends the file however it is left. ``append``: go on at the end of what is there. A pipe is
    opened at once: in a session nobody waits for who reads it. A file that cannot be gone on with
    is refused at once too, not when somebody talks."""

    def __init__(
        self, path: Path, *, append: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._opened = open_ahead(path, append=append)
        self.path = path
        self.name = shown(path)
        self._append = append
        self._clock = clock
        self._file: RecordingFile | None = None
        self._model: ModelIdentity | None = None
        self._timeline = Timeline()

    def begin(self, model: ModelIdentity) -> str:
        """A session begins, with codes of this model. Returns what there is to say about a file
        that is gone on with. Raises ClientError where the room's model has changed."""
        if self._file is not None:
            if model != self._model:
                raise ClientError(
                    f"the room is of model {model} now, and {self.name} of {self._model}"
                )
            self._timeline.restart()
            return ""
        self._model = model
        header = Header(model, started=int(time.time()))
        given, self._opened = self._opened, None
        self._file = RecordingFile(self.path, header, append=self._append, opened=given)
        self._timeline = Timeline(self._file.position)
        return self._file.remark

    def take(self, packet: Packet) -> int:
        """Write a packet; returns its samples of sound. Raises FileError, and ClientError where
        the recording is longer than a file can be."""
        if self._file is None:
            raise RuntimeError("begin a session first")
        if isinstance(packet, VoicePacket):
            self._file.voice(packet.timbre, exact=packet.exact)
            return 0
        if not isinstance(packet, CodesPacket):
            return 0
        frames = int(packet.codes.shape[1])
        captured = packet.times.captured
        start = self._timeline.place(packet.seq, frames, captured, self._clock())
        if self._timeline.full:
            raise ClientError(f"{self.name} is a day long, and takes no more")
        self._file.push(packet.codes, start)
        return frames * HOP

    def close(self) -> None:
        """Write what waits and the end. Raises FileError."""
        if self._file is not None:
            self._file.close()
        self._close_unused()

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._file is not None:
            self._file.__exit__(kind, error, trace)
        self._close_unused()

    def _close_unused(self) -> None:
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None
