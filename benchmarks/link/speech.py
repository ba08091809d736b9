"""Speech for a talk: recordings of people, and sentences that a recogniser understands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facodec.config import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    from benchmarks.link.sound import Audio

PAUSE = 0.6
"""Seconds of silence around each sentence."""
LONGEST_CLIP = 4.0
LEVEL = 0.08
"""Root mean square of each piece, so that none is quiet beside the others."""
CLIPS = 12


@dataclass(frozen=True)
class Sentence:
    """Words, and the samples in which they are said."""

    words: list[str]
    begin: int
    end: int


@dataclass(frozen=True)
class Talk:
    """Samples (n,) to say, whole frames, and the sentences among them."""

    audio: Audio
    sentences: list[Sentence] = field(default_factory=list)


def compose(seconds: float, data: Path | None, *, spoken: bool) -> Talk:
    """A talk of so many seconds: recordings below ``data`` (by default the bundled one) and, where
    ``spoken``, in turn with them sentences of :mod:`benchmarks.speech.words`."""
    clips = cycle(_clips(data))
    sentences = cycle(_sentences()) if spoken else None
    total, parts, at = int(seconds * SAMPLE_RATE) // HOP * HOP, [], 0
    said: list[Sentence] = []

    def add(part: Audio) -> None:
        nonlocal at
        parts.append(part)
        at += len(part)

    silence = np.zeros(int(PAUSE * SAMPLE_RATE), np.float32)
    while at < total:
        add(next(clips))
        if sentences is None:
            continue
        words, audio = next(sentences)
        add(silence)
        said.append(Sentence(words, at, at + len(audio)))
        add(audio)
        add(silence)
    audio = np.concatenate(parts)[:total]
    return Talk(audio, [each for each in said if each.end <= total])


def _clips(data: Path | None) -> list[Audio]:
    from benchmarks.kit.subjects import speech
    from benchmarks.speech.clips import clips

    found = [speech()] if data is None else [audio for _, audio in clips(data, CLIPS)]
    return [_levelled(audio[: int(LONGEST_CLIP * SAMPLE_RATE)]) for audio in found]


def _sentences() -> Iterator[tuple[list[str], Audio]]:
    from benchmarks.speech.words import SENTENCES, VOICES, speak

    for sentence, voice in zip(SENTENCES, cycle(VOICES), strict=False):
        yield sentence.split(), _levelled(speak(sentence, voice))


def _levelled(audio: Audio) -> Audio:
    power = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    peak = float(np.abs(audio).max())
    return np.asarray(audio * min(LEVEL / max(power, 1e-6), 0.9 / max(peak, 1e-6)), np.float32)
