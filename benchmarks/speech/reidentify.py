"""Speakers told from conversions: equal error rates of speaker verification.

An attacker has recordings of people as they are, and conversions of other things that they said. A
trial compares one of each by speaker embeddings: both of one speaker, or of two. At the equal error
rate as many of the first are missed as of the second taken for one person; 50 % is guessing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speech.similarity import Embedding, embed, similarity_matrix
from benchmarks.speech.speakers import Utterance, by_speaker
from facodec.config import SAMPLE_RATE
from facodec.training.corpus import read_speech

if TYPE_CHECKING:
    from facodec.arrays import Timbre
    from facodec.codec import Codec

Audio = NDArray[np.float32]
Scores = NDArray[np.float32]
Row = dict[str, Any]
Change = Callable[[Audio, int], Audio]
"""Makes of a piece, and its number, what the attacker gets."""
PIECE_SECONDS, MOST_PIECES = 3.0, 4
"""Utterances of twice that length are cut into pieces of at least that; pieces of a speaker that
are used at most."""
RESAMPLES = 1000
AS_THEY_ARE, PLAIN = "source as it is", "codec, not converted"
BUNDLED, ENROLLED = "converted, bundled voices", "converted, enrolled voices"
ANONYMOUS, FAR = "converted, anonymous", "converted, anonymous, talker known"


@dataclass(frozen=True, eq=False)
class Piece:
    """Some seconds of a speaker's talk (n,)."""

    speaker: str
    audio: Audio


def cut_pieces(utterances: Sequence[Utterance]) -> list[Piece]:
    """Pieces of the speakers who have two or more of them, at most :data:`MOST_PIECES` each."""
    pieces: list[Piece] = []
    for speaker, own in by_speaker(utterances).items():
        parts = [part for one in own for part in _parts(read_speech(one.path))][:MOST_PIECES]
        pieces.extend(Piece(speaker, part) for part in parts if len(parts) > 1)
    return pieces


def _parts(audio: Audio) -> list[Audio]:
    return np.array_split(audio, max(1, int(len(audio) / (PIECE_SECONDS * SAMPLE_RATE))))


def measure_reidentification(codec: Codec, pieces: Sequence[Piece], seed: int = 0) -> list[Row]:
    """An error rate for each way of speaking, with the numbers of trials and a 95 % interval."""
    speakers = np.array([piece.speaker for piece in pieces])
    enrolled = [embed(piece.audio) for piece in pieces]
    rows = []
    for name, change in changes(codec, pieces, seed).items():
        heard = [embed(change(piece.audio, number)) for number, piece in enumerate(pieces)]
        rows.append({"name": name, **judge_trials(enrolled, heard, speakers, seed)})
    return rows


def changes(codec: Codec, pieces: Sequence[Piece], seed: int) -> dict[str, Change]:
    """Returns changes of pieces by name: each piece gets a voice of its own, as sessions do."""
    rng = np.random.default_rng(seed)
    bundled = list(codec.voices.values())
    talkers = [codec.voice(piece.audio) for piece in pieces]
    speakers = np.array([piece.speaker for piece in pieces])
    others = [rng.choice(np.flatnonzero(speakers != name)) for name in speakers]

    def known(number: int) -> Timbre:
        """Talker of a piece, by the next one of his."""
        own = np.flatnonzero(speakers == speakers[number]).tolist()
        next_one: Timbre = talkers[own[(own.index(number) + 1) % len(own)]]
        return next_one

    def plain(audio: Audio, number: int) -> Audio:
        spoken = codec.encode(audio)
        return codec.decode(spoken.codes, spoken.timbre)

    def hide(audio: Audio, number: int, talker: Timbre | None) -> Audio:
        voice = codec.anonymous_voice(talker, seed + number)
        return codec.convert(audio, voice, talker=talker, steer=False)

    made: dict[str, Change] = {AS_THEY_ARE: lambda audio, number: audio, PLAIN: plain}
    if bundled:
        made[BUNDLED] = lambda audio, n: codec.convert(audio, bundled[n % len(bundled)])
    made[ENROLLED] = lambda audio, n: codec.convert(audio, talkers[others[n]])
    if codec.speakers is not None:
        made[ANONYMOUS] = lambda audio, n: hide(audio, n, None)
        made[FAR] = lambda audio, n: hide(audio, n, known(n))
    return made


def judge_trials(
    enrolled: Sequence[Embedding],
    heard: Sequence[Embedding],
    speakers: NDArray[np.str_],
    seed: int = 0,
) -> Row:
    """Equal error rate of all trials of an enrolled piece and another that was heard, piece i of
    both by ``speakers[i]``; 95 % of resamples of the speakers lie from ``low`` to ``high``."""
    scores = similarity_matrix(list(enrolled), list(heard))
    names, owners = np.unique(speakers, return_inverse=True)
    if len(names) < 2 or len(names) == len(speakers):
        raise ValueError("expected two speakers or more with two pieces each or more")
    places = [np.flatnonzero(owners == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(names), size=len(names)) for _ in range(RESAMPLES))
    rates = [equal_error_rate(*_trials(scores, places, each)) for each in drawn if np.ptp(each)]
    same, other = _trials(scores, places, np.arange(len(names)))
    low, high = np.percentile(rates, (2.5, 97.5))
    return {
        "speakers": len(names),
        "same": len(same),
        "other": len(other),
        "eer": equal_error_rate(same, other),
        "low": float(low),
        "high": float(high),
    }


def _trials(
    scores: Scores, places: list[NDArray[np.intp]], chosen: NDArray[np.intp]
) -> tuple[Scores, Scores]:
    """Scores of trials of one speaker, but for a piece and itself, and of two, for speakers drawn
    with replacement: two draws of one speaker are no two speakers."""
    order = np.concatenate([places[number] for number in chosen])
    owners = np.concatenate([np.full(len(places[number]), number) for number in chosen])
    matrix = scores[np.ix_(order, order)]
    alike = owners[:, None] == owners[None, :]
    return matrix[alike & (order[:, None] != order[None, :])], matrix[~alike]


def equal_error_rate(same: Scores, other: Scores) -> float:
    """Share of ``same`` scores that are below the threshold at which as large a share of ``other``
    ones is not; between two thresholds by linear interpolation."""
    thresholds = np.append(np.unique(np.concatenate((same, other))), np.inf)
    missed = np.searchsorted(np.sort(same), thresholds) / len(same)
    taken = 1.0 - np.searchsorted(np.sort(other), thresholds) / len(other)
    excess = missed - taken
    after = int(np.argmax(excess >= 0.0))
    share = -excess[after - 1] / (excess[after] - excess[after - 1])
    return float(missed[after - 1] + share * (missed[after] - missed[after - 1]))
