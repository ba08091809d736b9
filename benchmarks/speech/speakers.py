"""Speakers in a folder of speech, and pairs of (what is said, whose voice it shall have)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE
from facodec.reasons import FileError, shown
from facodec.training.corpus import find_files, leave_out, need_opening, read_each, read_speech
from facodec.training.phones import read_manifest

Audio = NDArray[np.float32]
UNKNOWN = "?"
GROWN_UP = 16
"""Age in years."""
REFERENCE_SECONDS = 3.0
"""A voice is given by one utterance, or by as many as make up this length."""
LONGEST_SECONDS = 10.0
"""Length of a source or a reference; the rest is cut off."""


@dataclass(frozen=True)
class Utterance:
    """A file, whose it is, that speaker's sex: "f", "m" or "?", and whether it is a child."""

    path: Path
    speaker: str
    sex: str = UNKNOWN
    child: bool = False


@dataclass(frozen=True)
class Pair:
    """``source`` is to be spoken with the voice heard in ``reference``, all of one speaker."""

    source: Utterance
    reference: tuple[Utterance, ...]

    @property
    def target(self) -> str:
        """The speaker of the reference."""
        return self.reference[0].speaker

    @property
    def direction(self) -> str:
        """Sexes of source and target, "f>m" for instance."""
        return f"{self.source.sex}>{self.reference[0].sex}"

    @property
    def name(self) -> str:
        return f"{self.source.path.stem}_to_{self.target}"


def find_utterances(folder: Path) -> list[Utterance]:
    """All files below ``folder``: ``<speaker>/*.wav``; those straight in it are a speaker each.
    One that is no sound is left out, by name; a folder without others is a ValueError."""
    sexes, children = read_sexes(folder), read_children(folder)
    found = []
    for path in find_files(folder):
        try:
            need_opening(path)
        except FileError as error:
            leave_out(error)
            continue
        speaker = path.parent.name if path.parent != folder else path.stem
        sex, child = sexes.get(speaker, UNKNOWN), speaker in children
        found.append(Utterance(path, speaker, sex, child))
    if not found:
        raise ValueError(f"no file below {shown(folder)} can be read")
    return found


def read_sexes(folder: Path) -> dict[str, str]:
    """Speaker -> "f" or "m" by the columns ``speaker`` and ``gender`` of a tab-separated
    ``manifest.tsv`` in the folder or beside it; empty without one."""
    rows = read_manifest(folder)
    named = ((row.get("speaker"), row.get("gender", "")[:1].lower()) for row in rows)
    return {speaker: sex for speaker, sex in named if speaker and sex in ("f", "m")}


def read_children(folder: Path) -> set[str]:
    """Speakers under :data:`GROWN_UP` by the column ``age`` of the same table."""
    ages = ((row.get("speaker"), row.get("age", "")) for row in read_manifest(folder))
    return {name for name, age in ages if name and age.isdigit() and int(age) < GROWN_UP}


def by_speaker(utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    grouped = defaultdict(list)
    for utterance in utterances:
        grouped[utterance.speaker].append(utterance)
    return dict(grouped)


def make_pairs(
    utterances: Sequence[Utterance], count: int, seed: int = 0, folder: Path | None = None
) -> list[Pair]:
    """``count`` pairs of different speakers, taking turns between the directions (f>m, m>m, ...);
    a pair of speakers comes again only when all have had their turn. Raises ValueError, with the
    name of the folder that they lie in, where there is too little speech."""
    rng = np.random.default_rng(seed)
    speakers = by_speaker(utterances)
    targets = {name for name, own in speakers.items() if _draw_reference(own, rng)}
    couples = [(s, t) for s, t in permutations(sorted(speakers), 2) if t in targets]
    if not couples:
        where = "" if folder is None else f" below {shown(folder)}"
        raise ValueError(
            f"expected two speakers{where}, one of them with {REFERENCE_SECONDS:g} s of speech, "
            f"got {len(speakers)}, {len(targets)} of them with that much"
        )
    pairs: list[Pair] = []
    while len(pairs) < count:
        for source, target in _taking_turns(couples, speakers, rng):
            spoken = speakers[source][int(rng.integers(len(speakers[source])))]
            pairs.append(Pair(spoken, _draw_reference(speakers[target], rng)))
    return pairs[:count]


def _taking_turns(
    couples: list[tuple[str, str]],
    speakers: dict[str, list[Utterance]],
    rng: np.random.Generator,
) -> list[tuple[str, str]]:
    directions = defaultdict(list)
    for place in rng.permutation(len(couples)):
        source, target = couples[place]
        directions[speakers[source][0].sex, speakers[target][0].sex].append(couples[place])
    rounds = zip_longest(*(directions[key] for key in sorted(directions)))
    return [couple for turn in rounds for couple in turn if couple is not None]


def _draw_reference(own: list[Utterance], rng: np.random.Generator) -> tuple[Utterance, ...]:
    """Utterances in random order until they are long enough; none if all of them are not."""
    drawn: list[Utterance] = []
    seconds = 0.0
    for place in rng.permutation(len(own)):
        drawn.append(own[place])
        seconds += _seconds(own[place].path)
        if seconds >= REFERENCE_SECONDS:
            return tuple(drawn)
    return ()


@cache
def _seconds(path: Path) -> float:
    """Length of what can be read of a file: none of one that cannot be."""
    return sum(len(audio) for _, audio in read_each([path])) / SAMPLE_RATE


def read(utterances: Sequence[Utterance]) -> Audio:
    """The utterances one after the other, at most :data:`LONGEST_SECONDS`."""
    joined = np.concatenate([read_speech(utterance.path) for utterance in utterances])
    return joined[: int(LONGEST_SECONDS * SAMPLE_RATE)]
