"""``facodec bench gpu``: in one go all that is to be known before streams are put on a GPU.

For each model: a tick (encode and decode one hop of every stream, host memory to host memory) by
batch size, replayed as graphs and called kernel by kernel; which batch still fits into a hop; and
what TF32 and bfloat16 do to the codes and to the audio. Without CUDA the same code runs on the CPU,
with nothing to capture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.kit.common import (
    Result,
    add_common,
    duration,
    progress,
    reason,
    run_part,
    whole_number,
    whole_numbers,
)
from benchmarks.kit.present import Cell, Chart, Table
from benchmarks.kit.statistics import HOP_MS, most_streams

EXAMPLES = """\
  facodec bench gpu                            on CUDA, both models, up to 4096 streams
  facodec bench gpu --device cpu --quick       the same code without a GPU
  facodec bench gpu --model ns3 --batch 1,1000 --json > gpu.json
"""
MODELS = ("live", "ns3")
BATCHES = [1, 8, 64, 256, 512, 1024, 2048, 4096]
CPU_BATCHES = [1, 4]
PRECISIONS = ("float32", "tf32", "bf16")
HEARD_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    add = parser.add_argument
    add("--device", default="cuda", help="as PyTorch names it (default cuda)")
    add(
        "--model",
        action="append",
        dest="models",
        help="live, ns3 or a folder; repeat for more (default: live and ns3)",
    )
    add("--batch", type=whole_numbers, metavar="N,N..", help="streams a tick (default 1,8..4096)")
    add(
        "--precision",
        action="append",
        dest="precisions",
        choices=PRECISIONS,
        help="repeat for more (default: all)",
    )
    add("--seconds", type=duration, help="spent on each batch size (default 2, 0.5 if quick)")
    add("--calls", type=whole_number, default=400, help="most timed ticks (default 400)")
    add("--threads", type=whole_number, default=1, help="CPU threads (default 1)")  # fmt: skip


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``ticks`` and ``precision``. Raises ValueError where there is no such device."""
    import torch

    device = usable_device(args.device)
    torch.set_num_threads(args.threads)
    result.update(what={"device": str(device)}, ticks=[], precision=[], notes=[])
    if device.type != "cuda":
        result["notes"].append("no CUDA here: nothing was captured, and the figures are the CPU's")
    batches = args.batch or (BATCHES if device.type == "cuda" else CPU_BATCHES)
    for model in args.models or MODELS:
        offered = [p for p in args.precisions or PRECISIONS if p != "bf16" or model == "ns3"]
        grid = [(precision, batch) for precision in offered for batch in batches]
        for precision, batch in progress(grid, f"gpu {model}", len(grid)):
            try:
                result["ticks"].append(measure_tick(model, precision, batch, args))
            except (torch.OutOfMemoryError, RuntimeError, ValueError) as error:
                left_out = f"{model} {precision}, {batch} streams: {reason(error)}"
                result["notes"].append(left_out)
        result["precision"] += measure_precision(model, offered, str(device))


def usable_device(name: str) -> Any:
    """The device. Raises ValueError where it cannot be used."""
    import torch

    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used here: {reason(error)}") from error


def measure_tick(
    model: str, precision: str, batch: int, args: argparse.Namespace
) -> dict[str, Any]:
    """One tick of ``batch`` streams, ``replayed_ms`` with everything at fixed addresses and
    captured where that can be, ``called_ms`` without; memory in MiB a stream."""
    import torch

    from benchmarks.kit.statistics import paired_ratio, percentiles, time_in_turns
    from benchmarks.kit.subjects import Subject

    on_gpu = args.device.startswith("cuda")
    with computing(precision):
        steps = load_steps(model, precision, args.device)
        before = torch.cuda.memory_allocated() if on_gpu else 0
        options = (steps, batch, 1, args.seed, args.device)
        called, replayed = Subject(*options), Subject(*options, captured=True)
        used = (torch.cuda.memory_allocated() - before) / 2 if on_gpu else None
        ticks: dict[str, Callable[[], object]] = {
            "called": lambda: (called.encode(), called.decode()),
            "replayed": lambda: (replayed.encode(), replayed.decode()),
        }
        seconds = args.seconds or (0.5 if args.quick else 2.0)
        times = time_in_turns(ticks, seconds, args.calls, args.seed)
    return {
        "model": model, "precision": precision, "streams": batch, "captured": replayed.captured,
        "replayed_ms": percentiles(times["replayed"] * 1e3),
        "called_ms": percentiles(times["called"] * 1e3),
        "called_to_replayed": paired_ratio(times["called"], times["replayed"]),
        "stream_mib": None if used is None else used / batch / 2**20,
    }  # fmt: skip


def load_steps(model: str, precision: str, device: str) -> Any:
    """Returns the steps of the streams, on the device. With bf16 the matrix products of the
    published model's decoder, where most of the weights are, are done in it; the bundled model,
    which is small, stays in float32."""
    from benchmarks.kit.subjects import load_codec, plain_model
    from facodec.codec import Codec
    from facodec.published.layers import Conv, ConvTranspose

    if model != "ns3":
        return load_codec(model, device=device).steps
    network = plain_model(model).to(device)
    if precision == "bf16":
        for layer in network.decoder.model.modules():
            if isinstance(layer, Conv):
                layer.packed = half_product(layer.matrix, layer.bias)
            elif isinstance(layer, ConvTranspose):
                layer.packed = half_product(layer.matrix, None)
    return Codec(network).steps


def half_product(matrix: Any, bias: Any) -> Callable[[Any], Any]:
    """Rows (n, K) times a matrix (K, N) kept in bfloat16, plus a bias; float32 in and out."""
    import torch

    weight = matrix.bfloat16().contiguous()
    offset = None if bias is None else bias.bfloat16()

    def product(rows: Any) -> Any:
        half = rows.bfloat16()
        out = half @ weight if offset is None else torch.addmm(offset, half, weight)
        return out.float()

    return product


@contextmanager
def computing(precision: str) -> Iterator[None]:
    """Whether float32 products may be rounded to TF32 on the way; as it was, afterwards."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def measure_precision(model: str, precisions: Any, device: str) -> list[dict[str, Any]]:
    """Against the same model in float32 on the CPU: share of codes that differ, SNR of the decoded
    audio in dB (both decode the CPU's codes), and its log-mel distance."""
    import numpy as np
    import torch

    from benchmarks.kit.subjects import speech
    from facodec.training.metrics import log_mel_distance

    samples = torch.from_numpy(speech(HEARD_SECONDS)).unsqueeze(0)
    codes, audio = run_through(load_steps(model, "float32", "cpu"), samples, None)
    rows = []
    for precision in precisions:
        with computing(precision):
            steps = load_steps(model, precision, device)
            here, heard = run_through(steps, samples.to(device), codes.to(device))
        noise = float(np.square(audio - heard).sum())
        snr = 10 * float(np.log10(np.square(audio).sum() / noise)) if noise else None
        rows.append(
            {
                "model": model, "precision": precision,
                "codes_changed": float((here.cpu() != codes).float().mean()),
                "snr_db": snr, "log_mel": float(log_mel_distance(audio, heard)),
            }
        )  # fmt: skip
    return rows


def run_through(steps: Any, samples: Any, codes: Any) -> tuple[Any, Any]:
    """samples (1, 200 n) -> codes (1, 6, m), and the audio that ``codes`` (or these) decode to, hop
    by hop."""
    import torch

    with torch.inference_mode():
        state, parts = steps.encoder_state(1), []
        for hop in samples.split(200, dim=1):
            part, state = steps.encoder_step(hop, state)
            parts.append(part)
        made = torch.cat((*parts, steps.encoder_flush(state)), dim=2)
        timbre = torch.zeros(1, 256, device=samples.device)
        state, parts = steps.decoder_state(1, 0), []
        for frame in (made if codes is None else codes).split(1, dim=2):
            part, state = steps.decoder_step(frame, timbre, state)
            parts.append(part)
        audio = torch.cat((*parts, steps.decoder_flush(timbre, state)), dim=1)
    return made, audio[0].cpu().numpy()


def tables(result: Result) -> list[Table]:
    made = []
    if result.get("ticks"):
        rows: list[list[Cell]] = [
            [
                t["model"], t["precision"], t["streams"], "yes" if t["captured"] else "no",
                *(t["replayed_ms"][q] for q in ("p50", "p95", "p99")),
                t["replayed_ms"]["p50"] / t["streams"] * 1e3, t["called_ms"]["p50"],
                t["called_to_replayed"]["p50"], t["stream_mib"],
            ]
            for t in result["ticks"]
        ]  # fmt: skip
        fits = ", ".join(
            f"{name} {count:,}" for name, count in most_streams(result["ticks"]).items()
        )
        made.append(
            Table(
                "gpu",
                f"A tick (one hop of every stream, encoded and decoded) on "
                f"{result['what']['device']}; ms",
                ("model", "precision", "streams", "captured", "p50", "p95", "p99",
                 "us per stream", "kernel by kernel", "ratio", "MiB a stream"),
                rows,
                f"Most streams measured that fit into a hop of 12.5 ms at p99: {fits}.",
            )
        )  # fmt: skip
    if result.get("precision"):
        made.append(
            Table(
                "precision",
                "Distance from float32 on the CPU, streamed hop by hop",
                ("model", "precision", "codes changed", "SNR dB", "log-mel L1"),
                [
                    [p["model"], p["precision"], f"{p['codes_changed']:.2%}",
                     "exact" if p["snr_db"] is None else p["snr_db"], p["log_mel"]]
                    for p in result["precision"]
                ],
            )
        )  # fmt: skip
    return made


def charts(result: Result) -> list[Chart]:
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for tick in result.get("ticks", []):
        xs, ys = lines.setdefault(f"{tick['model']} {tick['precision']}", ([], []))
        xs.append(float(tick["streams"]))
        ys.append(tick["replayed_ms"]["p99"])
    if not lines:
        return []
    return [
        Chart(
            "gpu", f"Streams a tick on {result['what']['device']}", "streams", "p99 of a tick, ms",
            lines, limits={"one hop": HOP_MS}, log_x=True, log_y=True,
        )
    ]  # fmt: skip


def run(args: argparse.Namespace) -> int:
    return run_part(args, measure, tables)
