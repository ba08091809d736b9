"""Voice conversion judged pair by pair: whose voice it is, at what pitch, how loud."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.speech.similarity import Embedding, embed, similarity, similarity_matrix
from benchmarks.speech.speakers import Pair, Utterance, by_speaker, read
from facodec.config import MIN_LAYERS
from facodec.training.metrics import level_change
from facodec.training.pitch import track_pitch

if TYPE_CHECKING:
    from facodec.arrays import Codes
    from facodec.codec import Codec, Frames

Audio = NDArray[np.float32]
Row = dict[str, float]
SOURCE = "source as it is"
PLAIN = "codec, not converted"
CONVERTED = "converted"
DETAILED = "converted, detail codes kept"
TARGET = "target through the codec, no detail"
KINDS = (SOURCE, PLAIN, CONVERTED, DETAILED, TARGET)
PITCH_TOLERANCE = 0.15
"""Share a median pitch may be off the target's."""
MOST_ANCHORS = 40
"""Speakers that the anchors are taken from."""


def convert_pair(codec: Codec, source: Audio, reference: Audio) -> dict[str, Audio]:
    """Every kind of audio that is judged, from a source and a reference of the target."""
    spoken, target = codec.encode(source), codec.encode(reference)
    timbre = codec.voice(reference)
    stream = codec.converter_stream(timbre)
    converted = [*stream.push_frames(source), *stream.flush_frames()]
    return {
        SOURCE: source,
        PLAIN: codec.decode(spoken.codes, spoken.timbre),
        CONVERTED: _speak(codec, converted, spoken.codes[:0]),
        DETAILED: _speak(codec, converted, spoken.codes[MIN_LAYERS:]),
        TARGET: codec.decode(target.codes[:MIN_LAYERS], timbre),
    }


def _speak(codec: Codec, converted: list[Frames], detail: Codes) -> Audio:
    """Converted frames with the detail codes (K, T) of the whole utterance added to theirs."""
    stream, parts, start = codec.decoder_stream(converted[0].timbre), [], 0
    for frames in converted:
        stream.timbre = frames.timbre
        end = start + frames.codes.shape[1]
        parts.append(stream.push(np.concatenate((frames.codes, detail[:, start:end]))))
        start = end
    return np.concatenate((*parts, stream.flush()))


def median_pitch(audio: Audio) -> float:
    """Median over voiced frames of log-F0, as Hz; NaN where nothing is voiced."""
    track = track_pitch(audio)
    return float(np.median(track[track > 0])) if (track > 0).any() else float("nan")


@dataclass(frozen=True)
class Judged:
    """A pair, the voice of its reference and of every kind of audio, and each kind's measures."""

    pair: Pair
    reference: Embedding
    voices: dict[str, Embedding]
    rows: dict[str, Row]


def judge_pair(pair: Pair, made: dict[str, Audio], reference: Audio) -> Judged:
    """Measures of every kind of audio: similarity to target and source, pitch and level.
    ``pitch_off`` is the distance of median log-F0 to the target's in natural-log units."""
    there, wanted = embed(reference), np.log(median_pitch(reference))
    voices = {kind: embed(audio) for kind, audio in made.items()}
    rows = {
        kind: {
            "to_target": similarity(voices[kind], there),
            "to_source": similarity(voices[kind], voices[SOURCE]),
            "pitch_off": float(np.log(median_pitch(audio)) - wanted),
            "level_db": level_change(reference if kind == TARGET else made[SOURCE], audio),
        }
        for kind, audio in made.items()
    }
    return Judged(pair, there, voices, rows)


def summary(judged: Sequence[Judged], kind: str) -> Row:
    """:func:`summarise` of one kind, and how alike it is to targets it was not made for."""
    row = summarise([one.rows[kind] for one in judged])
    return {**row, "to_others": similarity_to_others(judged, kind)}


def similarity_to_others(judged: Sequence[Judged], kind: str) -> float:
    """Mean similarity to the references of speakers who are neither source nor target; NaN
    without any. Conversions as near to these as to their target all have one voice."""
    matrix = similarity_matrix(
        [one.voices[kind] for one in judged], [one.reference for one in judged]
    )
    strangers = [
        [other.pair.target not in (one.pair.source.speaker, one.pair.target) for other in judged]
        for one in judged
    ]
    chosen = matrix[np.array(strangers)]
    return float(chosen.mean()) if chosen.size else float("nan")


def summarise(rows: Sequence[Row]) -> Row:
    """Means over pairs; a pitch that cannot be told counts as not within the tolerance."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    ratio = np.exp(columns["pitch_off"])
    within = np.abs(ratio - 1.0) <= PITCH_TOLERANCE
    told = np.abs(columns["pitch_off"][np.isfinite(columns["pitch_off"])])
    return {
        "pairs": float(len(rows)),
        "to_target": float(columns["to_target"].mean()),
        "to_source": float(columns["to_source"].mean()),
        "closer": float((columns["to_target"] > columns["to_source"]).mean()),
        "pitch_within": float(within.mean()),
        "pitch_off": float(np.expm1(np.median(told))) if len(told) else float("nan"),
        "level_db": float(columns["level_db"].mean()),
    }


def groups(directions: Sequence[str]) -> dict[str, list[int]]:
    """Name of a group -> the pairs in it: same sex, across sexes, and each direction."""
    tests: dict[str, Callable[[str], bool]] = {
        "same sex": lambda d: d in ("f>f", "m>m"),
        "across sexes": lambda d: d in ("f>m", "m>f"),
    }
    for direction in sorted(set(directions)):
        tests[direction] = direction.__eq__
    members = {k: [i for i, d in enumerate(directions) if t(d)] for k, t in tests.items()}
    return {name: places for name, places in members.items() if places}


def anchors(utterances: Sequence[Utterance]) -> dict[str, float]:
    """Mean similarity of untouched recordings: two of one speaker, and of two speakers."""
    voices: list[list[Embedding]] = []
    for own in list(by_speaker(utterances).values())[:MOST_ANCHORS]:
        voices.append([embed(read([utterance])) for utterance in own[:2]])
    same = [similarity(*pair) for pair in voices if len(pair) == 2]
    different = [similarity(one[0], other[0]) for one, other in combinations(voices, 2)]
    return {
        "same_speaker": float(np.mean(same)) if same else float("nan"),
        "different_speakers": float(np.mean(different)) if different else float("nan"),
    }
