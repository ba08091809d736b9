"""Writing recordings as they come, so that whatever breaks it off leaves whole blocks."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import check_codes
from facodec.config import HOP
from facodec.files import STANDARD, is_open_ended, mode_for, need_writable
from facodec.pipes import open_to_write, waiting
from facodec.reasons import FileError, shown, why
from facodec.recording.blocks import (
    BLOCK_FRAMES,
    MOST_SAMPLES,
    Header,
    Timbre,
    end_block,
    frames_block,
    voice_block,
)
from facodec.recording.reading import Recording
from facodec.recording.scan import Lost

Codes = NDArray[np.int64]


class BlockWriter:
    """Frames and voices in, blocks out: ``write`` takes the bytes of one whole block at a time.

    ``header`` is written first; None goes on where a recording left off, ``number`` being the next
    block's and ``position`` the sample after its last frame. ``size``: bytes written.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        header: Header | None,
        number: int = 0,
        position: int = 0,
    ) -> None:
        self._write = write
        self._number = number
        self._waiting: list[Codes] = []
        self._frames = 0
        self._start = position
        self.position = position
        """The sample after the last frame that was pushed."""
        self.size = 0
        if header is not None:
            self._put(header.to_bytes())

    def voice(self, timbre: Timbre, *, exact: bool) -> None:
        """The voice (256,) of what follows. Raises ValueError for what is none."""
        self.flush()
        self._block(voice_block(self._number, self.position, timbre, exact=exact))

    def push(self, codes: NDArray[np.integer], start: int | None = None) -> None:
        """Codes (K, n), which begin at the sample ``start``: later than what was pushed last where
        there is a gap, None right after it. Raises ValueError for what is none, and for a time
        that has passed or is more than a day off."""
        checked = check_codes(codes)
        if not checked.shape[1]:
            return
        start = self.position if start is None else start
        end = start + checked.shape[1] * HOP
        if start < self.position or end > MOST_SAMPLES:
            raise ValueError(f"expected a start from {self.position} on within a day, got {start}")
        if start > self.position or (self._waiting and len(self._waiting[0]) != len(checked)):
            self.flush()
        if not self._waiting:
            self._start = start
        self.position = end
        self._waiting.append(checked)
        self._frames += checked.shape[1]
        if self._frames >= BLOCK_FRAMES:
            self._write_frames(self._frames // BLOCK_FRAMES * BLOCK_FRAMES)

    def flush(self) -> None:
        """Write the frames that wait for a block to be full."""
        self._write_frames(self._frames)

    def end(self, samples: int | None = None) -> None:
        """Mark the end, after so many samples: by default after the last frame."""
        self.flush()
        self._block(end_block(self._number, self.position if samples is None else samples))

    def _write_frames(self, count: int) -> None:
        if not count:
            return
        codes = np.concatenate(self._waiting, axis=1)
        for at in range(0, count, BLOCK_FRAMES):
            part = codes[:, at : min(at + BLOCK_FRAMES, count)]
            self._block(frames_block(self._number, self._start, part))
            self._start += part.shape[1] * HOP
        rest = codes[:, count:]
        self._frames = rest.shape[1]
        self._waiting = [rest.copy()] if self._frames else []

    def _block(self, data: bytes) -> None:
        self._put(data)
        self._number += 1

    def _put(self, data: bytes) -> None:
        self._write(data)
        self.size += len(data)


def open_ahead(path: Path, *, append: bool = False) -> int | None:
    """Descriptor of the pipe or device that a recording is to go into, once somebody reads it; None
    for a file, and standard output. Raises FileError, also for a file that nothing can be appended
    to."""
    place = need_writable(path)
    if path == STANDARD or not is_open_ended(path):
        if append and path != STANDARD and place.exists():
            with Recording(place) as before:
                _need_appendable(before, shown(path))
        return None
    try:
        return open_to_write(path)
    except OSError as error:
        raise FileError(f"cannot write {shown(path)}: {why(error)}") from error


def _need_appendable(before: Recording, named: str) -> str:
    """Read a recording that is to be gone on with. Returns what is lost at its end, if anything.
    Raises FileError for one that nothing can be appended to."""
    if before.version != 3:
        raise FileError(
            f"{named} is of version {before.version}, which cannot be appended to: "
            "decode and encode it anew"
        )
    lost = [item for item in before.items() if isinstance(item, Lost)]
    if lost and not lost[-1].cut:
        raise FileError(f"{named} is damaged, so nothing is appended: {lost[-1]}")
    if before.scan.end + HOP > MOST_SAMPLES:
        raise FileError(f"{named} is a day long, and takes no more")
    return str(lost[-1]) if lost else ""


class RecordingFile:
    """A ``.fac`` file that grows by whole blocks and can be read at any time.

    It takes the place of an older file when its first block is written; ``append`` goes on at the
    end of that instead, cutting off what is not whole, and says so in ``remark``. A pipe or device
    is written to as it is; ``opened``: see :func:`open_ahead`. Ending it, also by an exception,
    writes what waits and the end mark. One process writes at a time. After a write that failed
    (``failure``), as on a full disk, the file ends with its last whole block and takes no more.
    Raises FileError.
    """

    def __init__(
        self, path: Path, header: Header, *, append: bool = False, opened: int | None = None
    ) -> None:
        self.path = path
        self.failure: FileError | None = None
        self.remark = ""
        self._header = header
        self._place = need_writable(path)
        self._aside: Path | None = None
        self._number = opened
        """Number of the open file."""
        self._size = 0
        self._regular = True
        self._blocks: BlockWriter | None = None
        self._ended = False
        self.appended_at = 0
        """The sample that this begins at: after what was there before."""
        if append and self._place.exists() and opened is None:
            self._go_on()

    @property
    def position(self) -> int:
        """The sample after the last frame."""
        return self.appended_at if self._blocks is None else self._blocks.position

    def voice(self, timbre: Timbre, *, exact: bool) -> None:
        """The voice (256,) of what follows."""
        self._open().voice(timbre, exact=exact)

    def push(self, codes: NDArray[np.integer], start: int | None = None) -> None:
        """Codes (K, n) from the sample ``start`` on, see :meth:`BlockWriter.push`."""
        self._open().push(codes, start)

    def flush(self) -> None:
        """Write the frames that wait for a block to be full."""
        if self._blocks is not None:
            self._open().flush()

    def close(self) -> None:
        """Write what waits and the end. Safe to call again. Raises FileError where that fails."""
        if self._number is None:
            return
        try:
            if self._blocks is not None and self.failure is None:
                self._blocks.end()
                if self._regular:
                    os.fsync(self._number)
        except OSError as error:
            raise self._fail(error) from error
        finally:
            with suppress(OSError):
                os.close(self._number)
            self._number = None

    def __enter__(self) -> RecordingFile:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
        else:
            with suppress(FileError):  # the first failure is the one to tell
                self.close()

    def _open(self) -> BlockWriter:
        if self.failure is not None:
            raise self.failure
        if self._blocks is None:
            try:
                self._create()
                self._blocks = BlockWriter(self._write, self._header)
            except OSError as error:
                raise self._fail(error) from error
        return self._blocks

    def _create(self) -> None:
        place = self._place
        self._regular = self.path != STANDARD and not is_open_ended(place)
        if not self._regular:
            if self._number is None:
                self._number = os.dup(1) if self.path == STANDARD else open_to_write(self.path)
            return
        self._number, name = tempfile.mkstemp(prefix=".facodec-", dir=place.parent)
        self._aside = Path(name)
        os.fchmod(self._number, mode_for(place))
        self._lock()

    def _go_on(self) -> None:
        """Open an older recording behind its last whole block."""
        named = shown(self.path)
        try:
            self._number = os.open(self._place, os.O_RDWR | os.O_CLOEXEC)
            self._lock()
        except OSError as error:
            self._close_quietly()
            raise FileError(f"cannot write {named}: {why(error)}") from error
        try:
            self._blocks = self._continued()
        except BaseException:
            self._close_quietly()
            raise

    def _continued(self) -> BlockWriter:
        named = shown(self.path)
        with Recording(self._place) as before:
            model = before.header.model
            if model != self._header.model and before.version == 3:
                raise FileError(
                    f"{named} holds codes of model {model}: those of {self._header.model} cannot "
                    "be appended"
                )
            lost = _need_appendable(before, named)
            scan = before.scan
        if lost:
            self.remark = f"{named}: {lost}; going on there"
        self.appended_at = scan.end
        self._size = scan.whole
        assert self._number is not None
        os.ftruncate(self._number, self._size)
        os.lseek(self._number, self._size, os.SEEK_SET)
        return BlockWriter(self._write, None, scan.whole_number, scan.end)

    def _lock(self) -> None:
        """One writer at a time: two would put their blocks between each other's."""
        assert self._number is not None
        try:
            fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileError(f"{shown(self.path)} is being written by another program") from error
        except OSError as error:  # file systems without locks
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                raise

    def _write(self, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        assert self._number is not None
        left = memoryview(data)
        try:
            with nullcontext() if self._regular else waiting():
                while left:
                    left = left[os.write(self._number, left) :]
            if self._aside is not None and self._size:
                # The header and a first block: there is something to keep.
                os.replace(self._aside, self._place)
                self._aside = None
        except BrokenPipeError:
            raise
        except OSError as error:
            self._cut_off()
            raise self._fail(error) from error
        except BaseException:  # Ctrl-C between two writes
            self._cut_off()
            self.failure = FileError(f"writing {shown(self.path)} was broken off")
            raise
        self._size += len(data)

    def _cut_off(self) -> None:
        """Leave no part of a block."""
        assert self._number is not None
        with suppress(OSError):
            os.ftruncate(self._number, self._size)

    def _fail(self, error: OSError) -> FileError:
        found = FileError(f"cannot write {shown(self.path)}: {why(error)}")
        self.failure = self.failure or found
        if self._aside is not None:
            with suppress(OSError):
                self._aside.unlink()
            self._aside = None
        return found

    def _close_quietly(self) -> None:
        if self._number is not None:
            with suppress(OSError):
                os.close(self._number)
            self._number = None
