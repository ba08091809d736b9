"""Files in and out of this program: bounded reading, and writing aside.

What is written lies in a file of its own beside its place until it is whole; an older file of that
name stays untouched until then.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, cast

from facodec.pipes import CHUNK, open_to_write, patiently, spooled, waiting
from facodec.reasons import ABSENT, REASONS, FileError, shown, why

STANDARD = Path("-")
"""Standard input or output, in place of a file."""
LARGEST_TEXT = 64 << 20
"""Bytes of a document, table or report that is read."""


def open_input(path: Path) -> BinaryIO:
    """A file opened for reading, at its beginning and seekable. What comes from a pipe is copied
    to a temporary file first. Raises FileError for what is missing, a folder or a device."""
    file = _opened(path, buffering=-1)
    kind = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(kind):
        return file
    with file:
        if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
            raise FileError(f"{shown(path)} is a device, not a file")
        return spooled(file, path)


def open_stream(path: Path) -> BinaryIO:
    """A file or pipe opened for reading forward, unbuffered: what has come can be read at once.
    Raises FileError for what is missing or a folder."""
    return _opened(path, buffering=0)


def read_bytes(path: Path, most: int) -> bytes:
    """The whole content of a file of at most ``most`` bytes; more is a FileError."""
    with open_input(path) as file:
        try:
            data = file.read(most + 1)
        except OSError as error:
            raise FileError(f"cannot read {shown(path)}: {why(error)}") from error
    if len(data) > most:
        raise FileError(f"{shown(path)} is too large: expected at most {most} bytes")
    return data


def read_text(path: Path, most: int) -> str:
    """The content of a UTF-8 file of at most ``most`` bytes. Raises FileError."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{shown(path)} is damaged: expected text in UTF-8") from error


def read_json(path: Path, most: int) -> Any:
    """The value in a JSON file of at most ``most`` bytes. Raises FileError."""
    text = read_text(path, most)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise FileError(f"{shown(path)} is damaged: it is nested too deeply") from error
    except ValueError as error:
        raise FileError(f"{shown(path)} is damaged: {error}") from error


def need_input(path: Path) -> None:
    """Raise FileError early for a file that is missing, a folder, or not to be read."""
    if path == STANDARD:
        return
    with _sentences(path):
        if stat.S_ISDIR(path.stat().st_mode):
            raise FileError(f"{shown(path)} is a folder, not a file")
        if not os.access(path, os.R_OK):
            raise FileError(f"cannot read {shown(path)}: {REASONS[errno.EACCES]}")


def need_plain(path: Path) -> None:
    """Raise FileError for what is there and no plain file: a device may have no end, and opening a
    pipe would wait for who writes into it, and give nothing the second time."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return  # whoever opens it says why
    if not stat.S_ISREG(kind):
        named = "folder" if stat.S_ISDIR(kind) else "pipe" if stat.S_ISFIFO(kind) else "device"
        raise FileError(f"{shown(path)} is a {named}, not a file")


def need_speech(folder: Path) -> None:
    """Raise FileError early where there is no folder of speech to read."""
    if fault := folder_fault(folder):
        raise FileError(f"expected a folder of speech, got {shown(folder)}, which {fault}")


def folder_fault(folder: str | Path) -> str | None:
    """Says why a folder cannot be looked through, as in "does not exist"; None where it can."""
    try:
        with os.scandir(folder):
            return None
    except FileNotFoundError:
        return ABSENT
    except NotADirectoryError:
        return "is no folder"
    except (OSError, ValueError) as error:
        return f"cannot be read: {why(error)}"


def need_writable(path: Path) -> Path:
    """The place that writing to ``path`` writes to, links followed. Raises FileError early for
    what the first write would run into."""
    if path == STANDARD:
        if sys.stdout is None:
            raise FileError("cannot write standard output: it is closed")
        return path
    named = shown(path)
    try:
        place = path.resolve()
        parent, folder, exists = place.parent, place.is_dir(), place.exists()
        lies = parent.is_dir()
    except RuntimeError as error:  # before Python 3.13
        raise FileError(f"cannot write {named}: {REASONS[errno.ELOOP]}") from error
    except (OSError, ValueError) as error:
        raise FileError(f"cannot write {named}: {why(error)}") from error
    if not lies:
        raise FileError(f"cannot write {named}: there is no folder {shown(path.parent)}")
    if folder:
        raise FileError(f"cannot write {named}: it is a folder")
    needed = [place] if exists else []
    if not exists or place.is_file():  # else a pipe or a device, written to as it is
        needed.append(parent)
    if not all(os.access(each, os.W_OK) for each in needed):
        read_only = os.statvfs(parent).f_flag & os.ST_RDONLY
        reason = REASONS[errno.EROFS if read_only else errno.EACCES]
        raise FileError(f"cannot write {named}: {reason}")
    return place


def need_folder(path: Path) -> None:
    """Make a folder if need be and see that files can be written there. Raises FileError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(b"x")
    except FileExistsError as error:
        raise FileError(f"cannot write into the folder {shown(path)}: it is no folder") from error
    except (OSError, ValueError) as error:
        raise FileError(f"cannot write into the folder {shown(path)}: {why(error)}") from error


def need_place(path: Path) -> None:
    """See that a folder is there, or can be made, for files to be written into; makes none. Raises
    FileError."""
    above = (path, *path.absolute().parents)
    need_folder(next(each for each in above if os.path.lexists(each)))


def is_open_ended(path: Path) -> bool:
    """Whether there is a pipe or a device, which is written to as it is."""
    return path.exists() and not path.is_file()


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the content of ``path`` by ``data``, wholly or not at all. Raises FileError."""
    with Replacement(path) as aside:
        aside.write(data)


def write_text(path: Path, text: str) -> None:
    """Replace the content of ``path`` by ``text`` in UTF-8, wholly or not at all."""
    write_bytes(path, text.encode("utf-8"))


class Replacement(RawIOBase):
    """A file that takes the place of another when it is whole: :meth:`commit`, or leaving it as a
    context manager without an exception; :meth:`discard` leaves the older file as it was.

    A link keeps its name and the file it points to is replaced; standard output (``-``), a pipe
    or a device is opened now, as a shell does, and gets everything at :meth:`commit`. It is
    seekable and unbuffered. ``failure``: the first error of a write, of which the others can be
    consequences; whoever writes through a library that swallows errors asks for it. Raises
    FileError.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.failure: FileError | None = None
        self._place = need_writable(path)
        self._copies = path == STANDARD or is_open_ended(self._place)
        self._aside: Path | None = None
        self._file: BinaryIO | None = None
        self._out: int | None = None
        """Descriptor of the pipe or device."""
        try:
            self._file = self._create()
        except OSError as error:
            self.discard()
            raise self._fail(error) from error

    def write(self, data: Any) -> int:
        """Write ``data`` whole. Where that fails the file ends before it, and from then on only
        what it holds can be written over (a header, to say how much came)."""
        view = memoryview(data).cast("B")
        start, done = self._open.tell(), 0
        if self.failure is not None and start + len(view) > self._size():
            raise self.failure
        try:
            while done < len(view):
                done += self._open.write(view[done:])
        except OSError as error:
            with suppress(OSError):
                if self._size() == start + done:
                    self._open.truncate(start)
                self._open.seek(start)
            raise self._fail(error) from error
        return len(view)

    def read(self, size: int = -1) -> bytes:
        return self._open.read(size)

    def readinto(self, buffer: Any) -> int:
        return cast(int, cast(Any, self._open).readinto(buffer))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._open.seek(offset, whence)

    def tell(self) -> int:
        return self._open.tell()

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def commit(self) -> None:
        """Move the file to its place."""
        try:
            if self._copies:
                self._copy_out()
            else:
                if self.failure is None:
                    os.fsync(self._open.fileno())
                self._open.close()
                os.replace(cast(Path, self._aside), self._place)
                self._aside = None
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._fail(error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the file, unless it was moved to its place. Safe to call again."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        if self._out is not None:
            with suppress(OSError):
                os.close(self._out)
            self._out = None
        if self._aside is not None:
            with suppress(OSError):
                self._aside.unlink()
            self._aside = None

    def __enter__(self) -> Replacement:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.commit()
        else:
            self.discard()

    @property
    def _open(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("the file is closed")
        return self._file

    def _size(self) -> int:
        return os.fstat(self._open.fileno()).st_size

    def _create(self) -> BinaryIO:
        if self._copies:
            if self.path != STANDARD:
                self._out = open_to_write(self.path)
            return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))
        place = self._place
        number, name = tempfile.mkstemp(prefix=".facodec-", dir=place.parent)
        self._aside = Path(name)
        os.fchmod(number, mode_for(place))
        return cast(BinaryIO, os.fdopen(number, "r+b", buffering=0))

    def _copy_out(self) -> None:
        self._open.seek(0)
        with waiting():
            if self._out is None:
                sys.stdout.flush()
                shutil.copyfileobj(self._open, sys.stdout.buffer, CHUNK)
                sys.stdout.buffer.flush()
                return
            with os.fdopen(self._out, "wb", closefd=False) as out:
                shutil.copyfileobj(self._open, out, CHUNK)

    def _fail(self, error: OSError) -> FileError:
        found = FileError(f"cannot write {shown(self.path)}: {why(error)}")
        self.failure = self.failure or found
        return found


def mode_for(place: Path) -> int:
    """Permissions of the file that is replaced, else those that a new file gets."""
    try:
        return stat.S_IMODE(place.stat().st_mode)
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _opened(path: Path, buffering: int) -> BinaryIO:
    with _sentences(path):
        return _open_to_read(path, buffering)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Makes FileErrors of the errors of looking at a file to read, or opening it."""
    try:
        yield
    except FileError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"there is no file {shown(path)}") from error
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {shown(path)}: {why(error)}") from error


def _open_to_read(path: Path, buffering: int) -> BinaryIO:
    if path == STANDARD:
        if sys.stdin is None:
            raise FileError("cannot read standard input: it is closed")
        return os.fdopen(os.dup(0), "rb", buffering)
    if path.is_dir():
        raise FileError(f"{shown(path)} is a folder, not a file")
    with patiently(path):
        return path.open("rb", buffering)
