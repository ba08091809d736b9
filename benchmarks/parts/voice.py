"""``facodec bench voice``: voice conversion, the words kept, what the codes leak, and whether a
talker is told from a conversion."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kit.common import progress, seed_number, share, whole_number, write_json
from facodec.extras import install, need

if TYPE_CHECKING:
    from benchmarks.speech.conversion import Judged
    from benchmarks.speech.speakers import Pair, Utterance
    from facodec import Codec

Audio = NDArray[np.float32]
Report = dict[str, Any]
EXAMPLES = """examples:
  facodec bench voice --data speech/valid                         the bundled model, 100 pairs
  facodec bench voice --data speech/valid --probe-data speech/train
                                               speakers of the leakage probe from elsewhere
  facodec bench voice --data speech/valid --parts conversion --pairs 20 --out report
                                               audio to hear, similarity matrix, pitch tracks

A manifest.tsv in or beside the folder (columns speaker, gender, age) tells sexes and children.
"""
PARTS = ("conversion", "words", "leakage", "reidentification")
LISTEN = 20
"""Pairs whose audio is kept."""
MATRIX = 12
"""Pairs in the similarity matrix."""
WORD_TARGETS = 12
"""Voices that take turns when the words are measured."""
PROSODY_CLIPS = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, required=True, help="folder of speech")
    parser.add_argument("--model", default="live", help="name or folder (default: live)")
    parser.add_argument(
        "--pairs", type=whole_number, default=100, help="conversions (default: 100)"
    )
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="of the choice of pairs (default: 0)"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)"
    )
    parser.add_argument(
        "--steer",
        type=share,
        metavar="SHARE",
        help="how far conversions go beyond the target (default: what the model does)",
    )
    parser.add_argument(
        "--probe-data",
        type=Path,
        metavar="DIR",
        help="folder with 4 or more utterances a speaker, to probe leakage (default: --data)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write audio, plots and JSON there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> int:
    import facodec
    from benchmarks.kit.voice_tables import tables
    from benchmarks.speech.clips import use_one_thread
    from benchmarks.speech.speakers import find_utterances, make_pairs

    if {"conversion", "reidentification"} & set(args.parts):
        need("bench", "resemblyzer")
    use_one_thread()
    codec = facodec.load(args.model)
    found = find_utterances(args.data)
    converts = {"conversion", "words"} & set(args.parts)
    pairs = make_pairs(found, args.pairs, args.seed, args.data) if converts else []
    report: Report = {"model": codec.name, "notes": []}
    if args.steer is not None:
        _steer(codec, args.steer)
        report["notes"].append(f"conversions steered by {args.steer:g}")
    if "conversion" in args.parts:
        report["conversion"] = measure_conversion(codec, found, pairs, args.out)
    if "words" in args.parts:
        add_words(report, codec, pairs)
    if "leakage" in args.parts:
        add_leakage(report, codec, found, args.probe_data)
    if "reidentification" in args.parts:
        add_reidentification(report, codec, found, args.seed)
    report = without_nan(report)
    if args.out:
        write_json(args.out / "voice.json", report)
    print(json.dumps(report) if args.json else tables(report))
    return 0


def _steer(codec: Codec, share: float) -> None:
    from facodec.bundled.model import LiveModel

    if not isinstance(codec.model, LiveModel):
        raise ValueError(f"--steer: expected the bundled model or its like, got {codec.name}")
    codec.model.steer = share


def without_nan(value: Any) -> Any:
    """The value with None for every NaN in it, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def measure_conversion(
    codec: Codec, found: list[Utterance], pairs: list[Pair], out: Path | None = None
) -> Report:
    """Means per kind of audio, those of the conversions per group of pairs, anchors, and every
    pair by itself; with ``out`` audio and pictures of the first pairs are kept."""
    from benchmarks.speech import conversion as c
    from benchmarks.speech.speakers import read

    judged = []
    for number, pair in enumerate(progress(pairs, "converting")):
        reference = read(pair.reference)
        made = c.convert_pair(codec, read([pair.source]), reference)
        judged.append(c.judge_pair(pair, made, reference))
        if out and number < LISTEN:
            _keep(out / "audio" / f"{number:02}_{pair.name}", made, reference)
        if out and number == 0:
            _draw_pitch(out, made, reference)
    if out:
        _draw_similarity(out, judged[:MATRIX])
    places = {"all": list(range(len(pairs))), **c.groups([pair.direction for pair in pairs])}
    return {
        "kinds": {kind: c.summary(judged, kind) for kind in c.KINDS},
        "groups": {
            name: {k: c.summary([judged[i] for i in own], k) for k in (c.CONVERTED, c.DETAILED)}
            for name, own in places.items()
        },
        "anchors": c.anchors(found),
        "pairs": [
            {"pair": one.pair.name, "direction": one.pair.direction, **one.rows[c.CONVERTED]}
            for one in judged
        ],
    }


def add_words(report: Report, codec: Codec, pairs: list[Pair]) -> None:
    """Word error rates into ``report["words"]``, by recogniser, or a note why there are none."""
    from benchmarks.speech import words
    from benchmarks.speech.speakers import read

    lacking = words.missing_tools()
    if lacking:
        report["notes"].append(f"words left out: {lacking}")
        return
    targets = [
        words.Target(codec.voice(read(pair.reference)), pair.reference[0].child)
        for pair in pairs[:WORD_TARGETS]
    ]
    hearers = words.recognisers()
    if words.WHISPER not in hearers:
        report["notes"].append(f"words were heard by one recogniser: {install('whisper')} adds one")
    report["words"] = words.measure_words(codec, targets, hearers)


def add_leakage(
    report: Report, codec: Codec, found: list[Utterance], probe_data: Path | None
) -> None:
    """Adds what codes tell beyond their task as ``report["leakage"]``; a note for what is left
    out."""
    from benchmarks.speech import leakage
    from benchmarks.speech.speakers import find_utterances, read

    audios = [read([utterance]) for utterance in found[:PROSODY_CLIPS]]
    report["prosody"] = leakage.measure_prosody(codec, audios)
    probed = found if probe_data is None else find_utterances(probe_data)
    lacking = leakage.lacking(probed)
    if lacking:
        report["notes"].append(f"leakage probes left out: {lacking}")
        return
    chosen = leakage.choose_utterances(probed)
    coded = leakage.encode_speakers(codec, chosen)
    report["leakage"] = {
        "speakers": len(chosen),
        "utterances": len(coded),
        "speaker": leakage.measure_speaker(codec, coded),
        "pitch": leakage.measure_pitch_leakage(coded),
    }


def add_reidentification(report: Report, codec: Codec, found: list[Utterance], seed: int) -> None:
    """Error rates of telling talkers into ``report["reidentification"]``; a note where there are
    too few."""
    from benchmarks.speech.reidentify import cut_pieces, measure_reidentification

    pieces = cut_pieces(found)
    if (count := len({piece.speaker for piece in pieces})) < 2:
        report["notes"].append(
            "re-identification left out: expected two speakers or more with two pieces of speech, "
            f"got {count}"
        )
        return
    if codec.speakers is None:
        report["notes"].append("no anonymous voices: the weights tell of no speakers")
    report["reidentification"] = measure_reidentification(codec, pieces, seed)


def _keep(folder: Path, made: dict[str, Audio], reference: Audio) -> None:
    from benchmarks.speech.conversion import CONVERTED, DETAILED, PLAIN, SOURCE
    from facodec.sound.writing import write_wav

    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "source": made[SOURCE],
        "target_reference": reference,
        "codec": made[PLAIN],
        "converted": made[CONVERTED],
        "converted_with_detail": made[DETAILED],
    }
    for name, audio in kept.items():
        write_wav(folder / f"{name}.wav", audio)


def _draw_pitch(out: Path, made: dict[str, Audio], reference: Audio) -> None:
    from benchmarks.kit.plots import pitch_tracks
    from benchmarks.speech.conversion import CONVERTED, SOURCE
    from facodec.training.pitch import track_pitch

    tracks = {"source": made[SOURCE], "converted": made[CONVERTED], "target": reference}
    pitch_tracks({k: track_pitch(audio) for k, audio in tracks.items()}, out / "pitch.png")


def _draw_similarity(out: Path, judged: list[Judged]) -> None:
    from benchmarks.kit.plots import similarity_matrices
    from benchmarks.speech.conversion import CONVERTED, SOURCE
    from benchmarks.speech.similarity import similarity_matrix

    references = [one.reference for one in judged]
    similarity_matrices(
        {
            kind: similarity_matrix([one.voices[kind] for one in judged], references)
            for kind in (SOURCE, CONVERTED)
        },
        [one.pair.source.speaker for one in judged],
        [one.pair.target for one in judged],
        out / "similarity.png",
    )
