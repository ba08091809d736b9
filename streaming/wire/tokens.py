"""Tokens and what each of them allows. A token itself is never printed, logged or raised."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from facodec.files import read_bytes
from facodec.names import composed
from facodec.reasons import shown

LARGEST_FILE = 1 << 20
"""Bytes of a file of tokens."""
MAX_TOKEN = 256
"""Characters of a token."""
RIGHTS = ("publish", "subscribe", "convert")
"""``publish`` and ``subscribe`` are the roles of those names; ``convert`` is all the others."""


@dataclass(frozen=True)
class Grant:
    """Rights of a token. ``name``: stands for the token in logs. ``rooms``: glob patterns of the
    rooms that it may publish in and listen to."""

    name: str
    rights: frozenset[str] = frozenset(RIGHTS)
    rooms: tuple[str, ...] = ("*",)

    @property
    def is_everything(self) -> bool:
        """Whether it includes all rights, in all rooms."""
        return self.rights >= frozenset(RIGHTS) and "*" in self.rooms

    def lacks(self, role: str, room: str | None) -> str | None:
        """The right that is missing for this role and room, in words; None if all are there."""
        right = role if role in RIGHTS else "convert"
        if right not in self.rights:
            return f"the right to {right}"
        if room is not None and not any(fnmatchcase(room, pattern) for pattern in self.rooms):
            return f"the right to {right} in room {room!r}"
        return None


EVERYTHING = Grant("everything")


class Tokens:
    """The tokens that a server knows, kept as digests. Falsy if there are none."""

    def __init__(self, grants: Iterable[tuple[str, Grant]] = ()) -> None:
        self._known = [(_digest(check_token(token)), grant) for token, grant in grants]

    def __len__(self) -> int:
        return len(self._known)

    def find(self, given: str) -> Grant | None:
        """Returns the grant of the token, None for one that is not known. Takes the same time for
        any."""
        digest = _digest(given)
        found: Grant | None = None
        for known, grant in self._known:
            if hmac.compare_digest(digest, known):
                found = grant
        return found


def check_token(token: str) -> str:
    """The token, if it can travel in a header and a query. Raises ValueError without naming it."""
    if not 0 < len(token) <= MAX_TOKEN:
        raise ValueError(f"expected a token of 1 to {MAX_TOKEN} characters, got {len(token)}")
    if not all("!" <= character <= "~" for character in token):
        raise ValueError(
            "expected a token of ASCII letters, digits and signs without spaces, got another "
            "character (the token is not shown)"
        )
    return token


def read_token_file(path: str) -> list[tuple[str, Grant]]:
    """Tokens and what they allow, from a file with one on each line.

    ``TOKEN [publish,subscribe,convert] [rooms=PATTERN,PATTERN] [name=NAME]``; without rights all of
    them, without rooms all rooms, without a name "line N". Empty lines and lines that start with
    ``#`` do not count. Raises FileError for one that cannot be read, and ValueError with the number
    of a line that is wrong.
    """
    try:
        lines = read_bytes(Path(path), LARGEST_FILE).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"token file {shown(path)} is no UTF-8 text") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                found.append(_parse_line(line.split(), f"line {number}"))
            except ValueError as error:
                raise ValueError(f"token file {shown(path)}, line {number}: {error}") from None
    if not found:
        raise ValueError(f"token file {shown(path)} holds no token")
    if len({token for token, _ in found}) < len(found):
        raise ValueError(f"token file {shown(path)} holds a token twice")
    return found


def readable_by_others(path: str) -> bool:
    """Whether accounts other than the owner's may read the file."""
    return os.name == "posix" and bool(os.stat(path).st_mode & 0o044)


def _parse_line(words: list[str], name: str) -> tuple[str, Grant]:
    token = check_token(words[0])
    rights = frozenset(RIGHTS)
    rooms: tuple[str, ...] = ("*",)
    for position, word in enumerate(words[1:], 2):
        key, equals, value = word.partition("=")
        if equals and key == "rooms" and value:
            rooms = tuple(composed(pattern) for pattern in value.split(",") if pattern)
        elif equals and key == "name" and value:
            name = value
        elif not equals and set(word.split(",")) <= set(RIGHTS):
            rights = frozenset(word.split(","))
        else:
            # The word may be half of a token that had a space in it: it is not repeated.
            raise ValueError(
                f"word {position}: expected rights ({','.join(RIGHTS)}), rooms=PATTERN,... or "
                "name=NAME, got something else"
            )
    return token, Grant(name, rights, rooms)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
