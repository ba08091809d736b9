"""``facodec bench graphs``: exported graphs in ONNX Runtime beside the model in PyTorch."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.kit.common import Result, add_common, progress, run_part, say, whole_number
from benchmarks.kit.present import Cell, Table
from facodec.extras import need

if TYPE_CHECKING:
    from torch import Tensor

    from facodec.model import CodecModel

EXAMPLES = """\
  facodec bench graphs                          both models, float32 and int8, 1,000 hops
  facodec bench graphs --model live --quick     the bundled model alone, fewer hops
"""
KINDS = {"prosody": slice(0, 1), "content": slice(1, 3), "detail": slice(3, 6)}
"""Layers of a frame's codes by what they carry."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    add = parser.add_argument
    add("--model", action="append", metavar="NAME", help="live, ns3 (published sizes, random "
        "weights) or a folder; repeat for more (default live and ns3)")  # fmt: skip
    add("--hops", type=whole_number, help="of speech (default 1000, 200 if quick)")
    add("--threads", type=whole_number, default=1, help="CPU threads of PyTorch (default 1)")


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``graphs``: a row for every model and precision."""
    import torch

    from benchmarks.kit.subjects import plain_model, speech
    from facodec.config import HOP, SAMPLE_RATE
    from facodec.onnx.export import PRECISIONS, export, quantize

    torch.set_num_threads(args.threads)
    hops = args.hops or (200 if args.quick else 1000)
    audio = torch.from_numpy(speech(hops * HOP / SAMPLE_RATE)).unsqueeze(0)
    result.update(hops=hops, graphs=[])
    for name in args.model or ["live", "ns3"]:
        model = plain_model(name)
        with tempfile.TemporaryDirectory() as folder:
            say(f"graphs: exporting {name}")
            export(model, Path(folder))
            for precision in PRECISIONS:
                if precision == "int8":
                    quantize(Path(folder))
                row = compare(model, Path(folder), audio)
                result["graphs"].append({"model": name, "precision": precision, **row})


def compare(model: CodecModel, folder: Path, audio: Tensor) -> dict[str, Any]:
    """Distances of the graphs in ``folder`` from the model on audio (1, 200 n), times of a frame
    in seconds, and the size in bytes. The decoders are given the same codes."""
    import torch

    from benchmarks.kit.subjects import Subject
    from facodec.onnx.runtime import load_exported
    from facodec.training.metrics import log_mel_distance

    graphs = load_exported(folder)
    with torch.inference_mode():
        codes, timbre = model.encode_with_timbre(audio)
        changed = graphs.encode_with_timbre(audio)[0] != codes
        sound, ours = (m.decode(codes, timbre, seed=3)[0].numpy() for m in (model, graphs))
    error = ours - sound
    noise, power = float((error**2).mean()), float((sound**2).mean())
    subject = Subject(graphs, 1, 1)
    return {
        "changed": {kind: float(changed[:, rows].float().mean()) for kind, rows in KINDS.items()},
        "largest": float(abs(error).max()),
        "snr_db": 10.0 * math.log10(power / max(noise, 1e-20)),
        "log_mel": log_mel_distance(sound, ours),
        "encode_s": _median(subject.encode, audio.shape[1] // 400),
        "decode_s": _median(subject.decode, audio.shape[1] // 400),
        "bytes": sum(path.stat().st_size for path in folder.glob("*.onnx")),
    }


def _median(call: Callable[[], object], count: int) -> float:
    import statistics

    times = []
    for _ in progress(range(count), "timing", count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def tables(result: Result) -> list[Table]:
    rows: list[list[Cell]] = [
        [
            row["model"],
            row["precision"],
            *(f"{row['changed'][kind]:.1%}" for kind in KINDS),
            f"{row['largest']:.0e}",
            f"{row['snr_db']:.0f}",
            f"{row['log_mel']:.0e}",
            1e3 * row["encode_s"],
            1e3 * row["decode_s"],
            round(row["bytes"] / 1e6),
        ]
        for row in result.get("graphs", [])
    ]
    columns = (
        "model", "precision", *(f"{kind} changed" for kind in KINDS), "audio, largest",
        "SNR dB", "log-mel L1", "encode ms", "decode ms", "MB",
    )  # fmt: skip
    title = f"Exported graphs beside PyTorch, {result.get('hops', 0):,} hops of speech, one stream"
    return [Table("graphs", title, columns, rows)]


def run(args: argparse.Namespace) -> int:
    need("onnx")
    return run_part(args, measure, tables)
