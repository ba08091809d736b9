"""Sentences for files that cannot be read or written."""

from __future__ import annotations

import errno
import os

ABSENT = "does not exist"
LONGEST_SHOWN = 1000
"""Characters of a name that a sentence shows."""
REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit for the size of a file is reached (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.ELOOP: "its links lead in a circle",
    errno.ENAMETOOLONG: "its name is too long",
}


class FileError(ValueError):
    """A file cannot be read or written, or its content is invalid; the text is a sentence with
    the file's name."""


def shown(path: object) -> str:
    """The name of a file as text that any output can show: bytes that are no UTF-8 and control
    characters are escaped, and the middle of a very long one is left out."""
    text = str(path)
    if len(text) > LONGEST_SHOWN:
        text = f"{text[: LONGEST_SHOWN // 2]} ... {text[-LONGEST_SHOWN // 2 :]}"
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def why(error: BaseException) -> str:
    """The reason of a failed read or write, in words."""
    text = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    return REASONS.get(getattr(error, "errno", None) or 0) or text or type(error).__name__


def named_why(error: Exception) -> str:
    """Text of an error; of one of the system, its file's name and the reason in words."""
    if not isinstance(error, OSError):
        return str(error)
    named = isinstance(error.filename, (str, bytes))
    return f"{shown(os.fsdecode(error.filename))}: {why(error)}" if named else why(error)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
