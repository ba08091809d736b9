"""Opening ``.fac`` files of any version: their parts in the order of time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from facodec.bitstream import Codes
from facodec.config import HOP
from facodec.files import STANDARD, open_stream
from facodec.reasons import FileError, shown, why
from facodec.recording import older
from facodec.recording.blocks import (
    BLOCK_FRAMES,
    CHECKSUM,
    FRAMES,
    LARGEST_HEADER,
    LENGTH,
    MAGIC,
    FramesBlock,
    Header,
    Timbre,
    VoiceBlock,
    checksum,
)
from facodec.recording.scan import Item, Scan, Window


@dataclass(frozen=True)
class Survey:
    """Positions in a recording, in samples: the frames without a gap around a place begin at
    ``stretch``; the last frame ends at ``end``, 0 where that cannot be known beforehand."""

    stretch: int = 0
    end: int = 0


VERSIONS = {older.FIRST_MAGIC: 1, older.SECOND_MAGIC: 2, MAGIC: 3}
PREFIX = len(MAGIC) + LENGTH.size


class Recording:
    """An open ``.fac`` file or pipe: ``header``, ``version`` and, in order, :meth:`items`.

    Opened by ``Recording(path)``; a context manager. Raises FileError for a file that is missing,
    is none, or whose header is damaged: then nothing in it has a meaning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._named = shown(path)
        self._file = open_stream(path)
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Safe to call again."""
        with suppress(OSError):
            self._file.close()

    def items(self, start: int = 0) -> Iterator[Item]:
        """Frames, voices and what is lost; once. Frames that end at or before the sample ``start``
        are left out and, in a file, not read; the voice there is known all the same."""
        if self._old is not None:
            yield from self._old_items(start)
            return
        try:
            yield from self.scan.items(lambda head: head.kind != FRAMES or head.end > start)
        except OSError as error:
            raise FileError(f"cannot read {self._named}: {why(error)}") from error

    @property
    def samples(self) -> int:
        """Samples of sound, after :meth:`items`: to the end that was marked, else to that of the
        last frame."""
        return self.scan.end if self.scan.samples is None else self.scan.samples

    @property
    def ended(self) -> bool:
        """Whether the file has its end, after :meth:`items`."""
        return self.scan.samples is not None

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return self._window.read

    @property
    def size(self) -> int:
        """Bytes of the file, after :meth:`items`."""
        return self._window.offset

    def _open(self) -> None:
        self._window = Window(self._file)
        self._old: tuple[Codes, Timbre] | None = None
        try:
            magic = self._window.ahead(len(MAGIC))
            if not magic:
                raise FileError(f"{self._named} is not a .fac file: it is empty")
            if magic not in VERSIONS:
                raise FileError(f"{self._named} is not a .fac file: it does not start with FACODEC")
            self.version = VERSIONS[magic]
            self.header = self._read_header() if self.version == 3 else self._read_old()
        except OSError as error:
            raise FileError(f"cannot read {self._named}: {why(error)}") from error
        except ValueError as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"{self._named} is damaged or cut short: {error}") from error
        if self.version == 3:
            self.scan = Scan(self._window)

    def _read_header(self) -> Header:
        data = self._window.ahead(PREFIX)
        if len(data) < PREFIX:
            raise ValueError("it ends within its header")
        (size,) = LENGTH.unpack(data[len(MAGIC) :])
        if size > LARGEST_HEADER:
            raise ValueError(f"expected a header of at most {LARGEST_HEADER} bytes, got {size}")
        total = PREFIX + size + CHECKSUM
        data = self._window.ahead(total)
        if len(data) < total:
            raise ValueError("it ends within its header")
        if checksum(data[:-CHECKSUM]) != data[-CHECKSUM:]:
            raise ValueError("its header does not fit its checksum")
        self._window.skip(total)
        return Header.from_map(data[PREFIX:-CHECKSUM])

    def _read_old(self) -> Header:
        data = self._window.ahead(older.LARGEST_FILE + 1)
        if len(data) > older.LARGEST_FILE:
            raise ValueError(f"expected at most {older.LARGEST_FILE} bytes")
        codes, timbre, model, samples = older.parse(data)
        self._window.skip(len(data))
        self._old = codes, timbre
        self.scan = Scan(self._window)
        self.scan.samples, self.scan.end = samples, codes.shape[1] * HOP
        return Header(model)

    def _old_items(self, start: int) -> Iterator[Item]:
        assert self._old is not None
        codes, timbre = self._old
        yield VoiceBlock(0, timbre, exact=True)
        for at in range(start // HOP // BLOCK_FRAMES * BLOCK_FRAMES, codes.shape[1], BLOCK_FRAMES):
            yield FramesBlock(at * HOP, codes[:, at : at + BLOCK_FRAMES])


def survey(path: Path, place: int = 0) -> Survey:
    """Look through the beginnings of a file's blocks, without what they hold; of a pipe, nothing is
    known. Raises FileError."""
    if path == STANDARD or not path.is_file():
        return Survey()
    with Recording(path) as recording:
        if recording.version < 3:
            return Survey(0, recording.samples)
        stretch = end = layers = 0
        for head in recording.scan.heads():
            if head.kind != FRAMES:
                continue
            if (head.start != end or head.detail != layers) and end <= place:
                stretch = head.start
            end, layers = head.end, head.detail
        return Survey(stretch, recording.samples)
