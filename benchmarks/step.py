"""``facodec bench step``: computing time of one hop, encoder and decoder, one stream."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, HOP, TIMBRE_DIM

EXAMPLES = """examples:
  facodec bench step                       the bundled model, one hop per call, one thread
  facodec bench step --model ns3           the published model's sizes (random weights serve)
  facodec bench step --hops 4 --threads 2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", default="live", help="live, ns3 or a folder of weights")
    parser.add_argument("--hops", type=int, default=1, help="hops per call (default 1)")
    parser.add_argument("--calls", type=int, default=300, help="timed calls (default 300)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def time_calls(call: Callable[[], object], warm: int, count: int) -> NDArray[np.float64]:
    """Seconds each of ``count`` calls took, after ``warm`` untimed ones."""
    for _ in range(warm):
        call()
    times = np.zeros(count)
    for i in range(count):
        start = time.perf_counter()
        call()
        times[i] = time.perf_counter() - start
    return times


def run(args: argparse.Namespace) -> int:
    import torch

    from facodec.codec import Codec

    torch.set_num_threads(args.threads)
    codec = _codec(args.model)
    random = np.random.default_rng(0)
    audio = (0.1 * random.standard_normal(args.hops * HOP)).astype(np.float32)
    codes = random.integers(0, CODEBOOK_SIZE, (CODE_LAYERS, args.hops))
    assert isinstance(codec, Codec)
    encoder = codec.encoder_stream()
    decoder = codec.decoder_stream(np.zeros(TIMBRE_DIM, dtype=np.float32))
    warm = codec.latency.total // (args.hops * HOP) + 20
    rows = {
        "encode": time_calls(lambda: encoder.push(audio), warm, args.calls),
        "decode": time_calls(lambda: decoder.push(codes), warm, args.calls),
    }
    result = {
        name: dict(
            zip(
                ("p50", "p95", "p99"), np.percentile(t, (50, 95, 99)) * 1e3 / args.hops, strict=True
            )
        )
        for name, t in rows.items()
    }
    if args.json:
        print(json.dumps({k: {q: float(v) for q, v in row.items()} for k, row in result.items()}))
        return 0
    print(
        f"{codec.name}: {args.hops} hop(s) of 12.5 ms a call, {args.threads} thread(s), "
        f"float32, {args.calls} calls; ms per hop"
    )
    print("| | p50 | p95 | p99 |\n|---|---|---|---|")
    for name, row in result.items():
        print(f"| {name} | " + " | ".join(f"{row[q]:.2f}" for q in ("p50", "p95", "p99")) + " |")
    return 0


def _codec(model: str) -> object:
    import facodec
    from facodec.codec import Codec

    if model == "ns3":  # computing time does not depend on the weights' values
        from facodec.ns3 import Ns3Model

        return Codec(Ns3Model())
    return facodec.load(model)
