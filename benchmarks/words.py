"""Are the words kept? Sentences spoken by flite, heard by pocketsphinx."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facodec.config import MIN_LAYERS
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


def missing_tools() -> str | None:
    """What is lacking to measure words, as a sentence; None when all is there."""
    if not shutil.which("flite"):
        return "flite is not installed (Debian: apt-get install flite)"
    spoken = subprocess.run(["flite", "-lv"], capture_output=True, text=True).stdout.split()
    if not set(VOICES) <= set(spoken):
        return f"flite lacks the voices {', '.join(VOICES)}"
    if not find_spec("pocketsphinx"):
        return "pocketsphinx is not installed: pip install 'facodec-live[bench]'"
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


def measure_words(codec: Codec, timbres: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Word error rate of the sentences as spoken, through the codec, through it without detail,
    and converted to ``timbres``, which take turns."""
    recogniser = Recogniser()
    errors: dict[str, int] = {}
    words = 0
    turns = cycle(timbres)
    for voice in VOICES:
        for sentence in SENTENCES:
            said = sentence.split()
            words += len(said)
            audio = speak(sentence, voice)
            for name, process in _treatments(codec, next(turns)).items():
                wrong = word_errors(said, recogniser.hear(process(audio)))
                errors[name] = errors.get(name, 0) + wrong
    return {name: count / words for name, count in errors.items()}


def _treatments(codec: Codec, timbre: NDArray[np.float32]) -> dict[str, Callable[[Audio], Audio]]:
    def transmit(audio: Audio, layers: int | None = None) -> Audio:
        frames = codec.encode(audio)
        return codec.decode(frames.codes[:layers], frames.timbre)

    return {
        "original": lambda audio: audio,
        "codec": transmit,
        "codec_no_detail": lambda audio: transmit(audio, MIN_LAYERS),
        "converted": lambda audio: codec.convert(audio, timbre),
    }
