"""Folders of a user's files; those in the cache nobody else can write to, since what lies there is
trusted, and run."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
PRIVATE = 0o700


def private_folder(name: str) -> Path:
    """A folder of ``facodec``'s in the user's cache, made where there is none, with mode 0700.

    One that others could write to is emptied first. Raises OSError, saying why, where there can be
    none: a user without a home, a folder that belongs to somebody else or that cannot be written,
    a folder above that others can exchange.
    """
    folder = _resolved(base_directory("XDG_CACHE_HOME", ".cache"))
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    for above in (folder, *folder.parents):
        _check_above(above)
    for part in ("facodec", name):
        folder = folder / part
        _make_private(folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written")
    return folder


def base_directory(variable: str, under_home: str) -> Path:
    """A base directory by the XDG specification: what the environment's ``variable`` says, or where
    that is unset or relative, this folder in the user's home.

    Raises OSError where the user has no home, as a nameless one in a container has none.
    """
    given = Path(os.environ.get(variable, ""))
    if given.is_absolute():
        return given
    try:
        home = Path.home()
    except RuntimeError as error:
        raise OSError(f"this user has no home directory, and {variable} is not set") from error
    if not home.is_absolute():
        raise OSError(f"expected an absolute home directory, got {str(home)!r}")
    return home / under_home


def personal_folder(variable: str, under_home: str, name: str) -> Path | None:
    """``facodec/NAME`` in a base directory, see :func:`base_directory`; None for a user without a
    home. Nothing is made."""
    try:
        return base_directory(variable, under_home) / "facodec" / name
    except OSError:
        return None


def _resolved(folder: Path) -> Path:
    try:
        return folder.resolve()
    except RuntimeError as error:  # before Python 3.13
        raise OSError(f"{folder} is a loop of links") from error


def _check_above(folder: Path) -> None:
    """Raises OSError where others could put a folder of theirs in the place of one in this."""
    info = folder.stat()
    if info.st_uid not in (0, os.geteuid()):
        raise PermissionError(f"{folder} belongs to another user")
    others = stat.S_IWOTH if _is_own_group(info.st_gid) else OTHERS_WRITE
    if info.st_mode & others and not info.st_mode & stat.S_ISVTX:
        raise PermissionError(f"{folder} can be written by others")


def _is_own_group(group: int) -> bool:
    """Whether nobody else is in the group, but root: a user private group, by its name and its
    members. Others may have a group of any other name for theirs, which nobody can list."""
    import grp  # not on Windows
    import pwd

    try:
        user, entry = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return entry.gr_name in (user, "root") and {*entry.gr_mem} <= {user, "root"}


def _make_private(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(mode=PRIVATE)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise NotADirectoryError(f"{folder} is a link or a file")
    if info.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to another user")
    if info.st_mode & OTHERS_WRITE:
        log.warning("%s could be written by others: emptied, as anything may lie there", folder)
        shutil.rmtree(folder)
        folder.mkdir(mode=PRIVATE)
    elif stat.S_IMODE(info.st_mode) != PRIVATE:
        folder.chmod(PRIVATE)
