"""Rooms recorded into a folder as ``.fac`` files, one for each time that somebody publishes.

A recorder is one more listener of its room. It computes nothing and waits for nothing: what it
hears goes to one thread that takes packets apart and writes all files. A full or slow disk ends a
recording, or leaves a gap in it, and the log says so; the room never notices.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from facodec.files import need_folder
from facodec.identity import ModelIdentity
from facodec.reasons import FileError, shown
from facodec.recording import SUFFIX
from facodec.recording.blocks import BLOCK_FRAMES, Header
from facodec.recording.timeline import Timeline
from facodec.recording.writing import RecordingFile
from streaming.server.broadcast import Broadcast
from streaming.wire.media import Frames, Media, Timbre
from streaming.wire.protocol import DoneReason, Format, PresenceState, ProtocolError, Stamps

log = logging.getLogger(__name__)

MOST_WAITING = 60 * 80
"""Frames of one room that may wait for the disk; what comes then is left out, as a gap."""
LONGEST_STEM = 100
"""Characters of a room's name in a file's; longer ones end in a hash."""
CLOSE_PATIENCE = 5.0
"""Seconds that the disk has to take what waits when the server stops."""
Job = Callable[[], None]


class Recorder:
    """Writes the rooms whose names match one of ``patterns`` (glob; none: all) into ``folder``.

    :meth:`listener` and what it gives belong to the event loop. ``clock``: monotonic seconds.
    Raises FileError where nothing can be written there.
    """

    def __init__(
        self, folder: Path, patterns: tuple[str, ...], clock: Callable[[], float] = time.monotonic
    ) -> None:
        need_folder(folder)
        self.folder = folder
        self._patterns = patterns
        self._clock = clock
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._taken: set[Path] = set()
        """Names of files that are being written."""
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def listener(self, room: str) -> RoomRecorder | None:
        """Recorder of a room that somebody begins to publish in; None where nobody is to."""
        if self._patterns and not any(fnmatchcase(room, each) for each in self._patterns):
            return None
        return RoomRecorder(room, _Track(room, self.folder, self._taken), self._post, self._clock)

    def close(self, patience: float = CLOSE_PATIENCE) -> bool:
        """Write what waits; False where that took longer than ``patience`` s."""
        self._jobs.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _post(self, job: Job) -> None:
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class RoomRecorder:
    """A listener that hands what it hears to a track. On the event loop; raises nothing."""

    wants: Format = "codes"
    lags = is_away = False

    def __init__(
        self,
        room: str,
        track: _Track,
        post: Callable[[Job], None],
        clock: Callable[[], float],
    ) -> None:
        self._room = room
        self._track = track
        self._post = post
        self._clock = clock
        self._model = ModelIdentity("")
        self._timeline = Timeline()
        self._next = 0
        self._voice: Timbre | None = None
        self._voice_is_new = False
        self._start = 0
        self._held: list[Frames] = []
        self._count = 0

    def on_ready(self, broadcast: Broadcast, first_frame: int) -> None:
        """A broadcast begins."""
        self._model, self._next = broadcast.model, first_frame
        self._begin()

    def on_media(self, item: Media, stamps: Stamps | None) -> None:
        """The next voice or frames."""
        if isinstance(item, Timbre):
            self._hand_over()
            self._voice, self._voice_is_new = item, True
        elif isinstance(item, Frames) and item.frames:  # a pause begins with none
            self._add(item, None if stamps is None else stamps.t)

    def on_presence(self, state: PresenceState) -> None:
        """Silence is recorded as such."""

    def on_end(self, reason: DoneReason) -> None:
        """The publisher has left."""
        self._hand_over()
        self._post(self._track.end)

    def on_failure(self, error: ProtocolError) -> None:
        """The room broke."""
        self.on_end("end")

    def _begin(self) -> None:
        header = Header(self._model, int(time.time()))
        self._timeline, self._voice_is_new = Timeline(), True
        self._post(lambda: self._track.begin(header))

    def _add(self, item: Frames, captured: float | None) -> None:
        frames = int(item.frames)
        before = self._timeline.position
        start = self._timeline.place(self._next, frames, captured, self._clock())
        self._next += frames
        if self._timeline.full:  # a day: on in another file
            self._hand_over()
            self._post(self._track.end)
            self._begin()
            before = start = self._timeline.place(self._next - frames, frames, None, self._clock())
        if start > before:
            self._hand_over()
        if not self._held:
            self._start = start
        self._held.append(item)
        self._count += frames
        if self._count >= BLOCK_FRAMES:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the track a block, not a packet, at a time: its thread wakes less often."""
        held, start, count = self._held, self._start, self._count
        self._held, self._count = [], 0
        if count and self._track.expect(count):
            voice = self._voice if self._voice_is_new else None
            self._voice_is_new = False
            self._post(lambda: self._track.take(voice, held, count, start))


class _Track:
    """One file after the other; all but :meth:`expect` in the recorder's thread."""

    def __init__(self, room: str, folder: Path, taken: set[Path]) -> None:
        self._room = shown(room)
        self._stem = safe_stem(room)
        self._folder = folder
        self._taken = taken
        self._file: RecordingFile | None = None
        self._lock = threading.Lock()
        self._waiting = 0
        self._late = False

    def expect(self, frames: int) -> bool:
        """From the event loop: whether so many more frames may wait for the disk."""
        with self._lock:
            fits = self._waiting + frames <= MOST_WAITING
            self._waiting += frames if fits else 0
        if not fits and not self._late:
            log.warning("the disk is too slow to record room %s: there are gaps", self._room)
        self._late = not fits
        return fits

    def begin(self, header: Header) -> None:
        self._guarded(lambda: self._begin(header))

    def take(self, voice: Timbre | None, held: list[Frames], count: int, start: int) -> None:
        """The next ``count`` frames, from the sample ``start`` on, with the voice that is new."""
        with self._lock:
            self._waiting -= count
        self._guarded(lambda: self._take(voice, held, start))

    def end(self) -> None:
        self._guarded(self._end)

    def _begin(self, header: Header) -> None:
        path = self._free(datetime.fromtimestamp(header.started or 0, timezone.utc))
        self._taken.add(path)
        self._file = RecordingFile(path, header)
        log.info("recording room %s into %s", self._room, shown(path))

    def _take(self, voice: Timbre | None, held: list[Frames], start: int) -> None:
        if self._file is None:
            return
        if voice is not None:
            self._file.voice(voice.vector, exact=voice.exact)
        # Only now are coded packets and pauses codes: that takes time that the loop has not.
        self._file.push(np.concatenate([item.codes for item in held], axis=1), start)
        self._file.flush()

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._taken.discard(file.path)
            file.close()

    def _guarded(self, work: Job) -> None:
        """Whatever goes wrong ends this recording and nothing else."""
        try:
            work()
        except Exception as error:
            reason = error if isinstance(error, FileError) else repr(error)
            log.error("room %s is not recorded any more: %s", self._room, reason)
            with suppress(Exception):
                self._end()

    def _free(self, when: datetime) -> Path:
        """A name that no file has: the room, and when this began (UTC)."""
        name = f"{self._stem}-{when:%Y%m%d-%H%M%S}"
        path, more = self._folder / f"{name}{SUFFIX}", 1
        while path in self._taken or path.exists():
            more += 1
            path = self._folder / f"{name}-{more}{SUFFIX}"
        return path


def safe_stem(room: str) -> str:
    """The beginning of a file's name for any name of a room: all but ASCII letters, digits, ``_``,
    ``-`` and ``.`` as %XX of UTF-8, a leading dot or hyphen too. Different rooms get different
    ones."""
    data = room.encode("utf-8", "surrogatepass")
    parts = (bytes([byte]).decode("latin-1") for byte in data)
    stem = "".join(c if _PLAIN.fullmatch(c) else f"%{ord(c):02X}" for c in parts)
    if stem[:1] in (".", "-"):
        stem = f"%{ord(stem[0]):02X}{stem[1:]}"
    if len(stem) > LONGEST_STEM:
        stem = f"{stem[:LONGEST_STEM]}~{blake2b(data, digest_size=8).hexdigest()}"
    return stem


_PLAIN = re.compile(r"[A-Za-z0-9_.-]")
