"""``facodec bench noise``: speech in noise, noise alone, silence, and voices enrolled from noisy or
short recordings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kit.common import Result, add_common, progress, run_part, whole_number
from benchmarks.kit.present import Table
from facodec.config import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    from benchmarks.speech.speakers import Pair
    from facodec.codec import Codec

Audio = NDArray[np.float32]
EXAMPLES = """\
  facodec bench noise                       words in noise, noise alone, silence
  facodec bench noise --data speech/valid   and voices from noisy or short recordings
  facodec bench noise --model runs/mine/out another model
"""
SNR_DB = 15.0
STATIONARY = ("white", "pink", "fan")
REFERENCE_SNR_DB = 10.0
SHORT_SECONDS = 3.0
NOISE_DBFS = -40.0
SETTLE = 80
"""Frames until the running estimates have settled; what comes out before is not judged."""
LAGS = slice(32, 288)
"""Lags of the pitches that the codec knows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    parser.add_argument("--model", default="live", help="name or folder (default: live)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of speech, for voices")
    parser.add_argument(
        "--pairs", type=whole_number, default=40, help="of source and reference (default 40)"
    )


def run(args: argparse.Namespace) -> int:
    return run_part(args, measure, tables)


def measure(args: argparse.Namespace, result: Result) -> None:
    import facodec
    from benchmarks.speech.clips import use_one_thread

    use_one_thread()
    codec = facodec.load(args.model)
    result["alone"] = [noise_alone(codec, kind, args.seed) for kind in STATIONARY]
    result["silence"] = silence(codec)
    result["words"] = words(codec, 4 if args.quick else None, args.seed)
    if args.data is not None:
        result["voices"] = voices(codec, args.data, 8 if args.quick else args.pairs, args.seed)


def tables(result: Result) -> list[Table]:
    made = []
    if alone := result.get("alone"):
        made.append(
            Table(
                "noise-alone",
                f"Noise alone, at {NOISE_DBFS:g} dBFS, through the codec",
                ("noise", "louder by, dB", "autocorrelation in", "autocorrelation out"),
                [(row["kind"], row["change_db"], row["peak_in"], row["peak_out"]) for row in alone],
                "Autocorrelation: the highest between 56 and 500 Hz, mean over frames.",
            )
        )
    if quiet := result.get("silence"):
        made.append(
            Table(
                "noise-silence",
                "Digital silence, converted: the loudest sample that comes out",
                ("voice", "dBFS"),
                [(row["voice"], row["peak_dbfs"]) for row in quiet],
            )
        )
    if heard := result.get("words"):
        made.append(
            Table(
                "noise-words",
                f"Words wrong, %, in noise {SNR_DB:g} dB below the speech, pocketsphinx",
                ("way", "without noise", *STATIONARY, "babble"),
                [(way, *(100.0 * row[kind] for kind in row)) for way, row in heard.items()],
            )
        )
    if found := result.get("voices"):
        made.append(
            Table(
                "noise-voices",
                f"Conversions of {found[0]['pairs']} pairs: similarity to the target, by reference",
                ("reference", "similarity", "lost"),
                [(row["reference"], row["similarity"], row["lost"]) for row in found],
            )
        )
    return made


def noise_alone(codec: Codec, kind: str, seed: int) -> dict[str, Any]:
    """Level and periodicity of five seconds of noise before and after the codec."""
    from facodec.training.noise import noise_of

    audio = noise_of(kind, 5 * SAMPLE_RATE, np.random.default_rng(seed))
    audio *= 10.0 ** (NOISE_DBFS / 20.0) / np.sqrt(np.mean(audio**2))
    frames = codec.encode(audio)
    heard, said = (x[SETTLE * HOP :] for x in (audio, codec.decode(frames.codes, frames.timbre)))
    change = 10.0 * np.log10((np.mean(said**2) + 1e-12) / np.mean(heard**2))
    return {
        "kind": kind,
        "change_db": float(change),
        "peak_in": periodicity(heard),
        "peak_out": periodicity(said),
    }


def periodicity(audio: Audio) -> float:
    """Highest normalised autocorrelation at lags of pitch, mean over frames of 64 ms."""
    frames = audio[: len(audio) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(1024), 2048)) ** 2)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)
    strength = correlation[:, LAGS] / (correlation[:, :1] + 1e-9) * window[0] / window[LAGS]
    return float(strength.max(1).mean())


def silence(codec: Codec) -> list[dict[str, Any]]:
    """Loudest samples, dB of full scale, of two seconds of silence in each voice of the model."""
    quiet = np.zeros(2 * SAMPLE_RATE, np.float32)
    peaks = {name: np.abs(codec.convert(quiet, v)).max() for name, v in codec.voices.items()}
    return [
        {"voice": name, "peak_dbfs": float(20.0 * np.log10(peak + 1e-9))}
        for name, peak in peaks.items()
    ]


def words(codec: Codec, sentences: int | None, seed: int) -> dict[str, dict[str, float]]:
    """Word error rates by way and noise: as it is, Opus at 9 kbit/s where it is installed, the
    codec, and the codec converting to its voices in turn."""
    from benchmarks.peers.tools import installed_peers
    from benchmarks.speech.words import (
        SENTENCES,
        VOICES,
        Pocketsphinx,
        missing_tools,
        speak,
        word_errors,
    )
    from facodec.training.noise import noise_of

    if lacking := missing_tools():
        raise ValueError(lacking)
    said = [(s.split(), speak(s, v)) for v, s in product(VOICES, SENTENCES[:sentences])]
    turns = cycle(codec.voices.values())

    def through(audio: Audio) -> Audio:
        frames = codec.encode(audio)
        return codec.decode(frames.codes, frames.timbre)

    ways: dict[str, Callable[[Audio], Audio]] = {
        "as it is": lambda audio: audio,
        codec.name: through,
    }
    if codec.voices:  # a model in training has none yet
        ways[f"{codec.name}, converted"] = lambda audio: codec.convert(audio, next(turns))
    if "Opus 9" in (peers := installed_peers()):
        ways["Opus 9"] = peers["Opus 9"][1]
    recogniser, others = Pocketsphinx(), cycle(audio for _, audio in said)
    kinds = ("none", *STATIONARY, "babble")
    wrong = {way: dict.fromkeys(kinds, 0) for way in ways}
    random = np.random.default_rng(seed)
    for (sentence, audio), kind in progress(list(product(said, kinds)), "words"):
        mixed = audio
        if kind != "none":
            noise = noise_of(kind, len(audio), random, lambda: next(others))
            mixed = mix(audio, noise, SNR_DB)
        for way, through_it in ways.items():
            wrong[way][kind] += word_errors(sentence, recogniser.hear(through_it(mixed)))
    total = sum(len(sentence) for sentence, _ in said)
    return {way: {kind: count / total for kind, count in row.items()} for way, row in wrong.items()}


def mix(speech: Audio, noise: Audio, snr: float) -> Audio:
    """Speech (N,) and noise (N,), so many dB below the mean power of the speech."""
    gain = np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10.0 ** (-snr / 20.0)
    return np.asarray(speech + gain * noise, np.float32)


def voices(codec: Codec, folder: Path, pairs: int, seed: int) -> list[dict[str, Any]]:
    """Similarity of conversions to their targets, whose references are whole, noisy or short."""
    from benchmarks.speech.speakers import find_utterances, make_pairs

    chosen = make_pairs(find_utterances(folder), pairs, seed, folder)
    rows = [
        _similarities(codec, pair, seed + i) for i, pair in enumerate(progress(chosen, "voices"))
    ]
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return [
        {"reference": name, "similarity": value, "lost": means["whole"] - value, "pairs": pairs}
        for name, value in means.items()
    ]


def _similarities(codec: Codec, pair: Pair, seed: int) -> dict[str, float]:
    from benchmarks.speech.similarity import embed, similarity
    from benchmarks.speech.speakers import read
    from facodec.training.noise import noise_of

    source, reference = read([pair.source]), read(pair.reference)
    noise = noise_of("pink", len(reference), np.random.default_rng(seed))
    references = {
        "whole": reference,
        f"with noise {REFERENCE_SNR_DB:g} dB below it": mix(reference, noise, REFERENCE_SNR_DB),
        f"{SHORT_SECONDS:g} s": reference[: int(SHORT_SECONDS * SAMPLE_RATE)],
    }
    wanted = embed(reference)
    return {
        name: similarity(embed(codec.convert(source, codec.voice(audio))), wanted)
        for name, audio in references.items()
    }
