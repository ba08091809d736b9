"""Names that users choose, of voices and rooms: letters of any script, safe in files and logs."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterable

LONGEST_NAME = 64
"""Characters."""
LARGEST_NAME = 200
"""Bytes as UTF-8: what the name of a file has room for."""
SIGNS = "._-"
RULE = f"up to {LONGEST_NAME} letters, digits, '.', '_' and '-', a letter or digit first"
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
                        "\U000e0100-\U000e01ef]")  # fmt: skip
"""Letters and marks that nobody sees: two names must not look alike by them."""


ANONYMOUS = "anonymous"
"""Names a fresh voice of nobody; with a dot and digits, its seed, always the same one."""
ALIKE = 0.65
"""Share of letters in common, in their order, from which a word may be meant by another."""
_SEEDED = re.compile(rf"{ANONYMOUS}(?:\.([0-9]{{1,19}}))?")


def is_anonymous(name: object) -> bool:
    """Whether this names a voice of nobody: ``anonymous``, or ``anonymous.SEED``."""
    return isinstance(name, str) and _SEEDED.fullmatch(name) is not None


def anonymous_seed(name: str) -> int | None:
    """The seed in the name of a voice of nobody; None where it has none."""
    found = _SEEDED.fullmatch(name)
    return None if found is None or found[1] is None else int(found[1])


def with_seed(name: str) -> str:
    """The name of a voice of nobody with a seed: its own, or one that nobody can guess. So named,
    the voice outlives a lost connection."""
    return name if anonymous_seed(name) is not None else f"{ANONYMOUS}.{secrets.randbelow(2**63)}"


def composed(name: str) -> str:
    """One spelling for letters that Unicode can write in two ways (ö, o and its dots): NFC."""
    return unicodedata.normalize("NFC", name)


def is_name(text: str) -> bool:
    """Whether a text, once :func:`composed`, is a name: letters, digits and marks of any script,
    and after the first of them also signs."""
    name = composed(text)
    if not 0 < len(name) <= LONGEST_NAME or len(name.encode("utf-8", "replace")) > LARGEST_NAME:
        return False
    if _INVISIBLE.search(name) or not name[0].isalnum():
        return False
    return all(c in SIGNS or c.isalnum() or unicodedata.category(c) in ("Mn", "Mc") for c in name)


def did_you_mean(word: str, known: Iterable[str], before: str = "") -> str:
    """The end of a sentence that names those of the known that are most like a word, with what goes
    ``before`` them: "; did you mean 'friend'?". Empty where none is."""
    from difflib import get_close_matches

    spellings = {each.casefold(): each for each in known}
    near = get_close_matches(word[:LONGEST_NAME].casefold(), spellings, cutoff=ALIKE)
    named = " or ".join(repr(before + spellings[each]) for each in near)
    return f"; did you mean {named}?" if named else ""
