"""Packed corpora whose codes are known: what training of the decoder alone needs.

The encoder is frozen then, so its codes are computed once, by the model that is trained on, and
kept. No pitch teacher and no transcripts are needed, so that packing takes minutes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import cast

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from facodec.bundled.model import LiveModel
from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE
from facodec.files import LARGEST_TEXT, read_json, write_text
from facodec.reasons import FileError
from facodec.training.corpus import (
    SHORTEST,
    find_files,
    listing_of,
    made_whole,
    read_each,
    read_speech,
    too_short,
    write_array,
)
from facodec.training.noise import spoil
from facodec.training.voiceprint import DIM, load_voiceprint
from facodec.weights.hashing import identity_of

FORMAT = 2
"""Raised when the packed layout changes, so that caches are rebuilt."""
NOISY_EACH = 4
"""Files of which one is packed in noise too."""
VOICEPRINTS, LONGEST = "voiceprints.npy", 240
"""File of the voices in a packed folder, and frames of each utterance that they are heard from."""

AT = "@"
"""Stands between the name of a speaker and the speed of what he becomes another speaker by."""

NOBODY = np.zeros((0, DIM), np.float32)


@dataclass(frozen=True)
class CodedCorpus:
    """samples int16 (200 N,) and codes int16 (N, 6) of all utterances one after the other;
    timbres float32 (U, 256); starts, lengths (U,) in frames; speakers (U,) numbers, and their
    names (S,); noisy (U,) where codes and timbre were heard in noise, and samples are without;
    spoiled int16 (200 M,), what was heard instead of the samples of the last M frames; voiceprints
    float32 (U, 192), whose voices the second teacher hears, or (0, 192)."""

    samples: NDArray[np.int16]
    codes: NDArray[np.int16]
    timbres: NDArray[np.float32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    speakers: NDArray[np.int64]
    names: tuple[str, ...]
    noisy: NDArray[np.bool_]
    spoiled: NDArray[np.int16]
    voiceprints: NDArray[np.float32] = field(default_factory=NOBODY.copy)

    def said(self, first: int, count: int) -> NDArray[np.int16]:
        """Samples (200 count,) from a frame on, without noise."""
        return self.samples[first * HOP : (first + count) * HOP]

    def heard(self, first: int, count: int) -> NDArray[np.int16]:
        """Samples (200 count,) from a frame on, as the encoder heard them."""
        start = first * HOP - (len(self.samples) - len(self.spoiled))
        return self.said(first, count) if start < 0 else self.spoiled[start : start + count * HOP]

    @property
    def hours(self) -> float:
        return float(self.lengths.sum()) * HOP / SAMPLE_RATE / 3600


def pack_coded(
    folder: Path,
    cache: Path,
    codec: Codec,
    noisy: bool = False,
    voiceprints: bool = False,
    speeds: Iterable[float] = (),
) -> CodedCorpus:
    """Packs the speech below ``folder`` with its codes into a sub-folder of ``cache``, or opens
    what is there; another model, or other files, make another folder.

    ``noisy`` adds a part of it once more, with the codes of what is heard in noise and
    reverberation; ``voiceprints`` adds what the second teacher of voices hears, for which the extra
    ``teachers`` has to be installed. For each of ``speeds`` all of it is there once more, played at
    so many times its speed, as the speech of another speaker, ``NAME@SPEED``: voices that nobody
    has (Ko et al. 2015; for speakers Yamamoto et al. 2019).
    """
    files = find_files(folder)
    places = [_packed(folder, files, cache, codec)]
    places += [_packed(folder, files, cache, codec, speed=speed) for speed in speeds]
    if noisy:
        places.append(_packed(folder, files[::NOISY_EACH], cache, codec, noisy=True))
    if voiceprints:
        for place in places:
            _add_voiceprints(place)
    return reduce(_joined, map(open_coded, places))


def _packed(
    folder: Path,
    files: list[Path],
    cache: Path,
    codec: Codec,
    noisy: bool = False,
    speed: float = 1.0,
) -> Path:
    listing = "\n".join(listing_of(folder, files))
    model = identity_of(cast(LiveModel, codec.model))
    names = f"{FORMAT}\n{model}\n{listing}".encode("utf-8", "surrogateescape")
    key = hashlib.sha256(names).hexdigest()[:12]
    kind = "noisy" if noisy else "coded" if speed == 1.0 else f"coded@{speed:g}"
    target = cache / f"{folder.name}-{kind}-{key}"
    if not (target / "index.json").exists():
        with made_whole(target):
            _write(folder, files, target, codec, noisy, speed)
    return target


def _add_voiceprints(target: Path) -> None:
    """Writes whose voices are heard in a packed folder beside it, once: 5 minutes for 10 hours."""
    if (target / VOICEPRINTS).exists():
        return
    corpus, teacher = open_coded(target), load_voiceprint()
    spans = list(zip(corpus.starts, corpus.lengths, strict=True))
    prints = np.zeros((len(spans), DIM), np.float32)
    for i, (start, length) in enumerate(tqdm(spans, desc="voices", unit="file", disable=None)):
        audio = corpus.said(int(start), min(int(length), LONGEST)).astype(np.float32) / 32767.0
        with torch.no_grad():
            prints[i] = teacher(torch.from_numpy(audio).unsqueeze(0)).squeeze(0).numpy()
    write_array(target / VOICEPRINTS, prints)


def open_coded(target: Path) -> CodedCorpus:
    """Opens what :func:`pack_coded` wrote; it all lies in memory, 2.6 MB a minute."""
    index = read_json(target / "index.json", LARGEST_TEXT)
    noisy, prints = index.get("noisy", False), target / VOICEPRINTS
    return CodedCorpus(
        samples=np.load(target / "samples.npy"),
        codes=np.load(target / "codes.npy"),
        timbres=np.load(target / "timbres.npy"),
        starts=np.cumsum([0, *index["lengths"]])[:-1].astype(np.int64),
        lengths=np.array(index["lengths"], dtype=np.int64),
        speakers=np.array(index["speakers"], dtype=np.int64),
        names=tuple(index["names"]),
        noisy=np.full(len(index["lengths"]), noisy),
        spoiled=np.load(target / "spoiled.npy") if noisy else np.zeros(0, np.int16),
        voiceprints=np.load(prints) if prints.exists() else NOBODY,
    )


def _joined(first: CodedCorpus, second: CodedCorpus) -> CodedCorpus:
    """One corpus of two, whose speakers go by their names; what is noisy is to be second."""
    names = tuple(dict.fromkeys((*first.names, *second.names)))
    numbers = {name: i for i, name in enumerate(names)}
    speakers = np.array([numbers[second.names[i]] for i in second.speakers], dtype=np.int64)
    frames = int(first.lengths.sum())
    return CodedCorpus(
        samples=np.concatenate((first.samples, second.samples)),
        codes=np.concatenate((first.codes, second.codes)),
        timbres=np.concatenate((first.timbres, second.timbres)),
        starts=np.concatenate((first.starts, second.starts + frames)),
        lengths=np.concatenate((first.lengths, second.lengths)),
        speakers=np.concatenate((first.speakers, speakers)),
        names=names,
        noisy=np.concatenate((first.noisy, second.noisy)),
        spoiled=second.spoiled,
        voiceprints=np.concatenate((first.voiceprints, second.voiceprints)),
    )


def _write(
    folder: Path, files: list[Path], target: Path, codec: Codec, noisy: bool, speed: float
) -> None:
    samples, spoiled, codes, timbres, lengths, speakers = [], [], [], [], [], []
    names: dict[str, int] = {}
    random = np.random.default_rng(len(files))
    another = _Others(files, random)
    longest = 0
    for path, audio in read_each(tqdm(files, desc="encoding", unit="file", disable=None)):
        if speed != 1.0:
            audio = at_speed(audio, speed)
        longest = max(longest, len(audio))
        if len(audio) < SHORTEST:
            continue
        heard = spoil(audio, another, random) if noisy else audio
        frames = codec.encode(heard)
        samples.append(_integers(audio))
        if noisy:
            spoiled.append(_integers(heard))
        codes.append(frames.codes.T.astype(np.int16))
        timbres.append(frames.timbre)
        lengths.append(len(audio) // HOP)
        name = path.parent.name if path.parent != folder else path.stem
        if speed != 1.0:
            name = f"{name}{AT}{speed:g}"
        speakers.append(names.setdefault(name, len(names)))
    if not lengths:
        raise too_short(folder, SHORTEST, longest)
    write_array(target / "samples.npy", np.concatenate(samples))
    if noisy:
        write_array(target / "spoiled.npy", np.concatenate(spoiled))
    write_array(target / "codes.npy", np.concatenate(codes))
    write_array(target / "timbres.npy", np.stack(timbres))
    index = {"lengths": lengths, "speakers": speakers, "names": list(names), "noisy": noisy}
    write_text(target / "index.json", json.dumps(index))


def at_speed(audio: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    """Audio (N,) played at ``speed`` times its own, pitch and formants with it, cut to whole
    frames."""
    played: NDArray[np.float32] = soxr.resample(audio, SAMPLE_RATE * speed, SAMPLE_RATE)
    return played[: len(played) // HOP * HOP]


def _integers(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.round(np.clip(audio, -1.0, 1.0) * 32767.0).astype(np.int16)


class _Others:
    """Draws speech of any of the files that can be read."""

    def __init__(self, files: list[Path], random: np.random.Generator) -> None:
        self._files, self._random = files, random

    def __call__(self) -> NDArray[np.float32]:
        for _ in self._files:
            with contextlib.suppress(FileError):
                return read_speech(self._files[int(self._random.integers(len(self._files)))])
        raise ValueError("expected speech to talk at the same time, got no file that can be read")
