"""``facodec bench quality``: objective quality of a model on a folder of speech."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.kit.common import progress, whole_number, write_json
from facodec.config import CODE_BITS, CODE_LAYERS, HOP, MIN_LAYERS, SAMPLE_RATE
from facodec.extras import need
from facodec.files import need_folder
from facodec.reasons import shown

if TYPE_CHECKING:
    from facodec import Codec

Audio = NDArray[np.float32]
Row = dict[str, float]
EXAMPLES = """examples:
  facodec bench quality --data speech/valid             the bundled model, all of the folder
  facodec bench quality --data speech/valid --ladder    3 to 6 code layers a frame
  facodec bench quality --data speech/valid --peers     beside Opus and Codec2
  facodec bench quality --data speech/valid --out report --clips 8
                                                        audio and spectrograms to look at
"""
COLUMNS = {
    "kbps": ("kbit/s", "{:.1f}"),
    "pesq": ("PESQ-wb", "{:.2f}"),
    "stoi": ("STOI", "{:.3f}"),
    "estoi": ("ESTOI", "{:.3f}"),
    "dnsmos": ("DNSMOS", "{:.2f}"),
    "log_mel": ("log-mel L1", "{:.3f}"),
    "level_db": ("level dB", "{:+.1f}"),
    "floor_db": ("noise floor dB", "{:+.1f}"),
    "clicks": ("clicks", "{:.2f}"),
    "voicing_error": ("voicing err", "{:.1%}"),
    "gross_pitch_error": ("pitch err", "{:.1%}"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, required=True, help="folder of speech")
    parser.add_argument("--model", default="live", help="name or folder (default: live)")
    parser.add_argument("--clips", type=whole_number, help="at most this many files")
    parser.add_argument("--ladder", action="store_true", help="also with fewer code layers")
    parser.add_argument("--peers", action="store_true", help="also Opus and Codec2, if installed")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write audio, plots and JSON there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def kbit_rate(layers: int) -> float:
    """kbit/s of the codes alone."""
    return layers * CODE_BITS * SAMPLE_RATE / HOP / 1000


def transmit(codec: Codec, layers: int) -> Callable[[Audio], Audio]:
    """Audio (N,) -> what comes out of encoder and decoder, (N,), with ``layers`` codes a frame."""

    def run(audio: Audio) -> Audio:
        frames = codec.encode(audio)
        return codec.decode(frames.codes[:layers], frames.timbre)[: len(audio)]

    return run


def judge(audio: Audio, decoded: Audio) -> Row:
    """All measures of one clip."""
    from benchmarks.speech.opinion import opinion
    from facodec.training.metrics import (
        clicks,
        level_change,
        noise_floor_change,
        pitch_agreement,
        quality,
    )
    from facodec.training.pitch import track_pitch

    row = quality(audio, decoded)
    row["dnsmos"] = opinion(decoded)
    row["level_db"] = level_change(audio, decoded)
    row["floor_db"] = noise_floor_change(audio, decoded)
    row["clicks"] = float(clicks(audio, decoded))
    whole = len(audio) // HOP * HOP
    row.update(pitch_agreement(track_pitch(audio[:whole]), track_pitch(decoded[:whole])))
    return row


def mean(rows: list[Row]) -> Row:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def table(results: dict[str, Row]) -> str:
    """A Markdown table, a line per codec."""
    head = "| codec | " + " | ".join(title for title, _ in COLUMNS.values()) + " |"
    lines = [head, "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in results.items():
        cells = (form.format(row[key]) for key, (_, form) in COLUMNS.items())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measure(
    codec: Codec,
    speech: list[tuple[str, Audio]],
    ladder: bool = False,
    peers: bool = False,
    out: Path | None = None,
) -> dict[str, Row]:
    """Mean of every measure over the clips, per codec; with ``out`` the audio of each is kept."""
    from benchmarks.peers.tools import installed_peers

    runs: dict[str, tuple[float, Callable[[Audio], Audio]]] = {}
    for layers in range(CODE_LAYERS, MIN_LAYERS - 1 if ladder else CODE_LAYERS - 1, -1):
        rate = kbit_rate(layers)
        runs[f"{codec.name} {rate:.1f}"] = (rate, transmit(codec, layers))
    if peers:
        runs.update(installed_peers())
    results = {}
    for name, (rate, run) in runs.items():
        rows = []
        for clip, audio in progress(speech, name):
            decoded = run(audio)
            try:
                rows.append(judge(audio, decoded))
            except ValueError as error:
                raise ValueError(f"{shown(clip)}: {error}") from error
            if out:
                _keep(out / name.replace(" ", "_"), clip, decoded)
        results[name] = {"kbps": rate, **mean(rows)}
    return results


def _keep(folder: Path, clip: str, audio: Audio) -> None:
    from facodec.sound.writing import write_wav

    path = (folder / clip).with_suffix(".wav")
    need_folder(path.parent)
    write_wav(path, audio)


def _draw(audio: Audio, decoded: Audio, out: Path) -> None:
    from benchmarks.kit.plots import pitch_tracks
    from facodec.training.pictures import spectrograms
    from facodec.training.pitch import track_pitch

    spectrograms({"in": audio, "out, after 4.8 kbit/s": decoded}, out / "spectrogram.png")
    whole = len(audio) // HOP * HOP
    tracks = {"in": track_pitch(audio[:whole]), "out": track_pitch(decoded[:whole])}
    pitch_tracks(tracks, out / "pitch.png")


def run(args: argparse.Namespace) -> int:
    import facodec
    from benchmarks.speech.clips import clips, use_one_thread

    need("bench", "pesq", "pystoi", "speechmos")
    use_one_thread()
    codec = facodec.load(args.model)
    speech = clips(args.data, args.clips)
    results = measure(codec, speech, args.ladder, args.peers, args.out)
    seconds = sum(len(audio) for _, audio in speech) / SAMPLE_RATE
    if args.out:
        write_json(args.out / "quality.json", results)
        _draw(speech[0][1], transmit(codec, CODE_LAYERS)(speech[0][1]), args.out)
    if args.json:
        print(json.dumps(results))
    else:
        print(f"{len(speech)} clips, {seconds:.0f} s, mean over clips\n{table(results)}")
    return 0
