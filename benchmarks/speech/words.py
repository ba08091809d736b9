"""Words kept and lost: sentences spoken by flite, heard by pocketsphinx."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle, islice, product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.kit.common import progress
from facodec.config import MIN_LAYERS
from facodec.extras import install
from facodec.training.corpus import read_speech

if TYPE_CHECKING:
    from facodec import Codec

Audio = NDArray[np.float32]
VOICES = ("slt", "rms")
"""A woman and a man that the recogniser understands well."""
SENTENCES = (
    "the children went to school early in the morning",
    "please open the window and let in some fresh air",
    "my brother bought a new car last week",
    "she put the letter on the kitchen table",
    "we will meet again at the station after lunch",
    "he was the first man to walk across the country",
    "there is a small garden behind the old house",
    "i would like a cup of coffee with milk and sugar",
    "the train to the city leaves in twenty minutes",
    "they could not find the way home in the dark",
    "the doctor told him to stay in bed for three days",
    "most people think that the summer is too hot here",
)


TARGETS_A_SENTENCE = 3


@dataclass(frozen=True)
class Target:
    """A voice to convert to: its timbre (256,), and whether it is a child's."""

    timbre: NDArray[np.float32]
    child: bool = False


def missing_tools() -> str | None:
    """Says in a sentence which tools are missing to measure words; None when all is there."""
    if not shutil.which("flite"):
        return "flite is not installed (Debian: apt-get install flite)"
    spoken = subprocess.run(["flite", "-lv"], capture_output=True, text=True).stdout.split()
    if not set(VOICES) <= set(spoken):
        return f"flite lacks the voices {', '.join(VOICES)}"
    if not find_spec("pocketsphinx"):
        return f"pocketsphinx is not installed: {install('bench')}"
    return None


def speak(sentence: str, voice: str) -> Audio:
    """The sentence as speech at 16 kHz, whole frames."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        subprocess.run(
            ["flite", "-voice", voice, "-t", sentence, "-o", str(path)],
            check=True,
            capture_output=True,
        )
        return read_speech(path)


class Recogniser:
    """pocketsphinx with the English model and language model inside its package."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(loglevel="FATAL")

    def hear(self, audio: Audio) -> list[str]:
        """audio (N,) at 16 kHz -> words; each call stands alone."""
        integers = np.round(np.clip(audio, -1.0, 1.0) * 32767.0).astype("<i2")
        self._decoder.start_utt()
        self._decoder.process_raw(integers.tobytes(), full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return [] if heard is None else str(heard.hypstr).split()


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Fewest words to put in, take out or replace to get from one to the other (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for count, wanted in enumerate(said, 1):
        diagonal, row[0] = row[0], count
        for place, got in enumerate(heard, 1):
            replaced = diagonal + (wanted != got)
            diagonal = row[place]
            row[place] = min(replaced, row[place] + 1, row[place - 1] + 1)
    return row[-1]


def measure_words(
    codec: Codec, targets: Sequence[Target], sentences: Sequence[str] = SENTENCES
) -> dict[str, float]:
    """Word error rate of sentences as spoken, through the codec, through it without detail,
    and converted to ``targets``, which take turns: to all, and to those who are no children, for
    the recogniser has hardly heard any."""
    recogniser = Recogniser()
    count = _Count()
    turns = cycle(targets)
    for voice, sentence in progress(list(product(VOICES, sentences)), "words"):
        audio, said = speak(sentence, voice), sentence.split()
        frames = codec.encode(audio)
        sounds = {
            "original": audio,
            "codec": codec.decode(frames.codes, frames.timbre),
            "codec_no_detail": codec.decode(frames.codes[:MIN_LAYERS], frames.timbre),
        }
        for name, sound in sounds.items():
            count.add(name, said, recogniser.hear(sound))
        for target in islice(turns, TARGETS_A_SENTENCE):
            heard = recogniser.hear(codec.convert(audio, target.timbre))
            count.add("converted", said, heard)
            if not target.child:
                count.add("converted_to_adults", said, heard)
    return count.rates()


class _Count:
    """Words and errors by kind of audio."""

    def __init__(self) -> None:
        self._errors: Counter[str] = Counter()
        self._words: Counter[str] = Counter()

    def add(self, name: str, said: Sequence[str], heard: Sequence[str]) -> None:
        self._errors[name] += word_errors(said, heard)
        self._words[name] += len(said)

    def rates(self) -> dict[str, float]:
        return {name: self._errors[name] / words for name, words in self._words.items()}
