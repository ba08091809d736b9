"""``facodec bench training``: how much speech an hour of one core trains on, and where it goes."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.kit.common import Result, add_common, run_part, say, whole_number
from benchmarks.kit.present import Cell, Table

if TYPE_CHECKING:
    from facodec.training.coded import CodedCorpus
    from facodec.training.config import TrainConfig
    from facodec.training.loop import Trainer

EXAMPLES = """\
  facodec bench training           the decoder's stage and the detail's, plain and fused
  facodec bench training --quick   the same, two steps each
"""
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_mkl_linear", "mkldnn_linear", "_linear_pointwise")
"""Matrix products, by the names that PyTorch's profiler gives them."""
SPEECH_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES, seed=False)
    add = parser.add_argument
    add("--steps", type=whole_number, help="that are timed, of each (default 6, 2 if quick)")
    add("--batch", type=whole_number, help="rows of a batch (default each stage's own)")
    add("--frames", type=whole_number, help="frames of a row (default each stage's own)")
    add("--no-fuse", action="store_true", help="nothing compiled: no C++ compiler is needed")
    add("--threads", type=whole_number, default=1, help="CPU threads of PyTorch (default 1)")


def _runs(args: argparse.Namespace) -> dict[str, TrainConfig]:
    """Each by its name; batches of about half a minute, as the documents advise."""
    from dataclasses import replace

    from facodec.training.config import TrainConfig

    decoder = TrainConfig(stage="decoder", batch=18, frames=104, convert=0.35, unquantized=-1)
    detail = replace(decoder, stage="detail", batch=10, frames=224, convert=0.2, unquantized=0)
    detail = replace(detail, placing=4)
    runs = {"decoder": decoder, "detail": detail, "detail, fused": replace(detail, fuse=True)}
    if args.no_fuse:
        del runs["detail, fused"]
    sizes = {k: v for k in ("batch", "frames") if (v := getattr(args, k)) is not None}
    return {name: replace(config, **sizes) for name, config in runs.items()}


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``training``: a row for every stage."""
    import torch

    import facodec
    from facodec.training.loop import Trainer

    torch.set_num_threads(args.threads)
    codec = facodec.load("live", backend="float32")
    corpus, steps = _corpus(codec), args.steps or (2 if args.quick else 6)
    result.update(steps=steps, training=[])
    for name, config in _runs(args).items():
        say(f"training: {name}")
        with tempfile.TemporaryDirectory() as folder:
            initial = codec.model.state_dict()  # type: ignore[attr-defined]
            trainer = Trainer(corpus, config, Path(folder), initial=initial)
            began = time.perf_counter()
            trainer.train_step()
            first = time.perf_counter() - began
            trainer.train_step()  # the second meets what the first has compiled
            row = {"stage": name, "batch": config.batch, "frames": config.frames, "first_s": first}
            result["training"].append(row | _timed(trainer, steps))


def _corpus(codec: Any) -> CodedCorpus:
    """A minute of speech of one speaker, in memory."""
    import numpy as np

    from benchmarks.kit.subjects import speech
    from facodec.config import HOP
    from facodec.training.coded import CodedCorpus

    audio = speech(SPEECH_S)
    frames = codec.encode(audio)
    return CodedCorpus(
        samples=np.round(audio * 32767.0).astype(np.int16),
        codes=frames.codes.T.astype(np.int16),
        timbres=np.stack([frames.timbre]),
        starts=np.zeros(1, np.int64),
        lengths=np.array([len(audio) // HOP]),
        speakers=np.zeros(1, np.int64),
        names=("slt",),
        noisy=np.zeros(1, np.bool_),
        spoiled=np.zeros(0, np.int16),
    )


def _timed(trainer: Trainer, steps: int) -> dict[str, float]:
    """Processor seconds of a step, hours of speech that an hour of them trains on, and the share of
    them in matrix products."""
    from torch.profiler import ProfilerActivity, profile

    from facodec.config import HOP, SAMPLE_RATE

    began = time.process_time()
    for _ in range(steps):
        trainer.train_step()
    step_s = (time.process_time() - began) / steps
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        trainer.train_step()
    times = {e.key.rpartition("::")[2]: e.self_cpu_time_total for e in seen.key_averages()}
    config = trainer.config
    return {
        "step_s": step_s,
        "hours_an_hour": config.batch * config.frames * HOP / SAMPLE_RATE / step_s,
        "products": sum(times.get(name, 0) for name in PRODUCTS) / max(1, sum(times.values())),
    }


def tables(result: Result) -> list[Table]:
    rows: list[list[Cell]] = [
        [
            row["stage"],
            f"{row['batch']} x {row['frames']}",
            row["step_s"],
            row["hours_an_hour"],
            f"{row['products']:.0%}",
            row["first_s"],
        ]
        for row in result.get("training", [])
    ]
    columns = (
        "stage", "batch", "step, s of a core", "hours of speech an hour of a core", "products",
        "first step, s",
    )  # fmt: skip
    return [Table("training", "Training on one machine, by stage", columns, rows)]


def run(args: argparse.Namespace) -> int:
    return run_part(args, measure, tables)
