"""Physical limits: the bytes and operations that a hop cannot do without, over what the machine can
read and compute, beside what a hop takes."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.kit.common import Result
from benchmarks.kit.present import Cell, Table
from benchmarks.kit.subjects import Subject, plain_model

PRECISIONS = {
    "float32": (4, "float32"),
    "8 bits": (1, "float32"),
    "bf16": (2, "bfloat16"),
    "int8": (1, "bfloat16"),
}
"""Bytes of a weight, and the rate that operations count at; those in int8 are no slower than in
bfloat16, whose rate is measured; those in 8 bits with a scale a row are made float32 for it."""
PRECISION_OF = {
    "float32": "float32",
    "native": "8 bits",
    "onnx": "float32",
    "bf16": "bf16",
    "int8": "int8",
}
"""Precision by backend. ``native`` keeps the bundled weights as they are stored, computing in
float32."""
REDUCED = {
    ("live", "encode"): ("8 bits",),
    ("live", "decode"): ("8 bits",),
    ("ns3", "decode"): ("bf16", "int8"),
}
"""Backends with smaller weights: the encoder's of ``ns3`` stay, for the codes' sake."""
SMALL_CACHE_MB, LARGE_CACHE_MB = 1.0, 24.0
"""Weights up to the first are taken to be read as fast as a core's own cache gives them, up to the
second as the last cache does, and beyond as memory does, which are measured at the sizes in
:data:`benchmarks.kit.machine.READ_SIZES_MB`."""


class _Reads(TorchDispatchMode):
    """Notes which of some tensors an operation takes as its input."""

    def __init__(self, of: dict[int, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._of = of
        self.touched: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        for value in args:
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() in self._of:
                    self.touched.add(tensor.untyped_storage().data_ptr())
        return func(*args, **(kwargs or {}))

    @property
    def bytes(self) -> int:
        return sum(self._of[pointer] for pointer in self.touched)


def work(model: str) -> dict[str, Any]:
    """Megabytes of weights read, and millions of operations (a product and a sum are two), of one
    hop of one stream, each side, by the plain network; of products alone, which is nearly all."""
    network = plain_model(model)
    sizes = {
        p.untyped_storage().data_ptr(): p.numel() * p.element_size() for p in network.parameters()
    }
    subject = Subject(network, 1, 1)
    sides = {}
    for side in ("encode", "decode"):
        reads = _Reads(sizes)
        with reads, FlopCounterMode(display=False) as flops:
            getattr(subject, side)()
        sides[side] = {"weights_mb": reads.bytes / 1e6, "mflop": flops.get_total_flops() / 1e6}
    return sides


def limits(models: list[str], rates: dict[str, Any], cases: list[dict[str, Any]]) -> Result:
    """``rows``: for each model, side and precision what a hop needs, the least time that takes at
    the machine's rates (reading and computing overlap, so the larger counts), and what was measured
    in ``cases`` with one stream and one hop a call, by the fastest backend of that precision."""
    rows = []
    for model in models:
        for side, needs in work(model).items():
            for precision in ("float32", *REDUCED.get((model, side), ())):
                size, rate = PRECISIONS[precision]
                weights = needs["weights_mb"] * size / PRECISIONS["float32"][0]
                read = weights / read_rate(weights, rates)
                compute = needs["mflop"] / rates["gflop_s"][rate]
                rows.append(
                    {
                        "model": model, "side": side, "precision": precision,
                        "weights_mb": weights, "mflop": needs["mflop"], "read_ms": read,
                        "compute_ms": compute, "limit_ms": max(read, compute),
                        "measured_ms": _fastest(cases, model, side, precision),
                    }
                )  # fmt: skip
    return {"rates": rates, "rows": rows}


def _fastest(cases: list[dict[str, Any]], model: str, side: str, precision: str) -> float | None:
    return min(
        (
            case["call_ms"]["p50"]
            for case in cases
            if (case["model"], case["side"], case["batch"], case["hops"]) == (model, side, 1, 1)
            and PRECISION_OF.get(case["backend"]) == precision
        ),
        default=None,
    )


def read_rate(megabytes: float, rates: dict[str, Any]) -> float:
    """GB/s at which weights of this size can be read again and again."""
    small, large, memory = rates["read_gb_s"].values()
    found = (
        small if megabytes <= SMALL_CACHE_MB else large if megabytes <= LARGE_CACHE_MB else memory
    )
    return float(found)


def tables(result: Result) -> list[Table]:
    if not result.get("rows"):
        return []
    rates = result["rates"]
    read = ", ".join(f"{rate:g} GB/s of {size}" for size, rate in rates["read_gb_s"].items())
    compute = ", ".join(f"{rate:g} GFLOP/s in {kind}" for kind, rate in rates["gflop_s"].items())
    rows: list[list[Cell]] = [
        [
            row["model"], row["side"], row["precision"], row["weights_mb"], row["mflop"],
            row["read_ms"], row["compute_ms"], row["limit_ms"], row["measured_ms"],
            row["measured_ms"] / row["limit_ms"] if row["measured_ms"] else None,
        ]
        for row in result["rows"]
    ]  # fmt: skip
    return [
        Table(
            "limits",
            "What a hop of one stream needs, the least time that can take, and what it takes; ms",
            ("model", "side", "precision", "weights, MB", "MFLOP", "reading", "computing",
             "limit", "measured", "times the limit"),
            rows,
            f"This machine reads weights at {read} and computes {compute}, with "
            f"{rates['threads']} thread(s).",
        )
    ]  # fmt: skip
