"""Models as ONNX graphs with their states as inputs and outputs, and a sidecar that explains them.

A folder holds ``encoder.onnx``, ``decoder.onnx``, ``talker.onnx`` and ``facodec.json``. A state
tensor ``x`` goes in as ``state.x`` and comes out as ``next.x``.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from facodec.bundled.model import LiveModel
from facodec.config import ABSENT, CODE_BITS, CODE_LAYERS, HOP, MIN_LAYERS, SAMPLE_RATE
from facodec.extras import need
from facodec.files import LARGEST_TEXT, need_folder, read_json, write_bytes, write_text
from facodec.onnx import SIDECAR
from facodec.onnx.fixed import ENDLESS, REACH
from facodec.onnx.graphs import Graph, graphs_of
from facodec.published.model import Ns3Model
from facodec.weights.hashing import identity_of
from facodec.weights.reading import digest_of

FORMAT = "facodec.onnx/1"
OPSET = 18
PRECISIONS = ("float32", "int8")
MOST_HOPS = 80
"""Frames a call, one second; each is a part of the graphs."""
STATE, NEXT = "state.", "next."
KEPT_FLOAT = ("features", "synthesizer", "quantizer")
"""Parts of a model whose products stay float32: they are small, and what they do is not learned
or decides on codes."""


def export(
    model: LiveModel | Ns3Model, folder: Path, precision: str = "float32", hops: int = 1
) -> Path:
    """Write ``model`` as graphs that take ``hops`` frames a call; returns the sidecar's path.

    ``int8``: weights of matrix products as int8, a scale a column; what they are multiplied with
    is rounded to 8 bits at run time. Raises ValueError for another precision, fewer hops than
    one or more than 80, or where the packages for it are missing.
    """
    if precision not in PRECISIONS or not 1 <= hops <= MOST_HOPS:
        raise ValueError(
            f"expected a precision of {', '.join(PRECISIONS)} and 1 to {MOST_HOPS} hops a call, "
            f"got {precision!r} and {hops}"
        )
    for package in ("onnx", "onnxscript"):
        needed(package)
    need_folder(folder)
    graphs = graphs_of(model, hops)
    description = _describe(model, hops, graphs)
    with tempfile.TemporaryDirectory(prefix=".facodec-", dir=folder) as place:
        aside = Path(place)
        for name, graph in graphs.items():
            _write(graph, aside / f"{name}.onnx")
            description["graphs"][name]["sha256"] = digest_of(aside / f"{name}.onnx")
        write_text(aside / SIDECAR, json.dumps(description, indent=1) + "\n")
        if precision == "int8":
            quantize(aside)
        for name in (*(f"{name}.onnx" for name in graphs), SIDECAR):
            (aside / name).replace(folder / name)
    return folder / SIDECAR


def quantize(folder: Path) -> None:
    """Make the float32 graphs in ``folder`` int8 ones."""
    sidecar = folder / SIDECAR
    description = read_json(sidecar, LARGEST_TEXT)
    for graph in description["graphs"].values():
        _quantize(folder / graph["file"])
        graph["sha256"] = digest_of(folder / graph["file"])
    write_text(sidecar, json.dumps(description | {"precision": "int8"}, indent=1) + "\n")


def needed(package: str) -> ModuleType:
    """Imports an optional package. Raises MissingExtra, which says how to get it."""
    need("onnx", package.partition(".")[0])
    return import_module(package)


def _write(graph: Graph, path: Path) -> None:
    batch = torch.export.Dim("batch")
    clock = ("heard", "coming")
    dynamic: list[Any] = [
        None
        if name in clock
        else {0: batch} | ({1: torch.export.Dim(graph.free[name])} if name in graph.free else {})
        for name in graph.inputs
    ]
    # Clones: what is one tensor in the example would become one input of the graph.
    arguments: list[Any] = [value.clone() for value in graph.inputs.values()]
    outputs = list(graph.outputs)
    if graph.state:
        arguments.append([value.clone() for value in graph.state.values()])
        dynamic.append([{0: batch}] * len(graph.state))
        outputs += [NEXT + name for name in graph.state]
    with torch.no_grad(), _quiet():
        torch.onnx.export(
            graph.module.eval(),
            tuple(arguments),
            path,
            dynamo=True,
            opset_version=OPSET,
            input_names=[*graph.inputs, *(STATE + name for name in graph.state)],
            output_names=outputs,
            dynamic_shapes=tuple(dynamic),
            custom_translation_table={torch.ops.aten.scalar_tensor.default: _exact_scalar},
            external_data=False,
            verbose=False,
        )


def _exact_scalar(s: float, dtype: int = 1, **_: object) -> Any:
    """A number as a constant. The exporter's own takes float64 through float32, which the phase
    of a pulse train shows after some seconds."""
    value = needed("onnx").helper.make_tensor("scalar", dtype, [], [s])
    return needed("onnxscript").opset18.Constant(value=value)


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the exporter's remarks on how it is made."""
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def _quantize(path: Path) -> None:
    """Replace the graph at ``path`` by its int8 version."""
    onnx = needed("onnx")
    needed("onnxruntime")
    quantization = needed("onnxruntime.quantization")
    float_nodes = [
        node.name for node in onnx.load(path).graph.node if set(KEPT_FLOAT) & _scopes(node)
    ]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        smaller = Path(folder, path.name)
        quantization.quantize_dynamic(
            path,
            smaller,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=float_nodes,
        )
        write_bytes(path, smaller.read_bytes())


def _scopes(node: Any) -> set[str]:
    """Names of the modules that a node of an exported graph comes from."""
    marks = {item.key: item.value for item in node.metadata_props}
    parts = marks.get("pkg.torch.onnx.name_scopes", "").replace("'", ".").split(".")
    return {part.removeprefix("content_").removeprefix("detail_") for part in parts}


def _describe(model: LiveModel | Ns3Model, hops: int, graphs: dict[str, Graph]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": model.name,
        "identity": str(identity_of(model)),
        "precision": "float32",
        "sample_rate": SAMPLE_RATE,
        "hop": HOP,
        "hops_per_call": hops,
        "latency": asdict(model.latency),
        "codes": {
            "layout": "(batch, layer, frame), layers prosody, content x 2, detail x 3",
            "layers": CODE_LAYERS,
            "fewest_layers": MIN_LAYERS,
            "bits": CODE_BITS,
            "absent": ABSENT,
        },
        "timbre_frames": list(model.config.timbre_frames) if isinstance(model, Ns3Model) else None,
        "notes": NOTES,
        "graphs": {name: _describe_graph(name, graph) for name, graph in graphs.items()},
    }


NOTES = {
    "state": "tensor x goes in as state.x and comes out as next.x; feed it to the next call",
    "delay": "results of the first `delay` frames of a stream are to be dropped",
    "heard": f"frames before this call, may stay at delay + {REACH} once there",
    "coming": f"frames of the signal that this and later calls get; {ENDLESS} until the end is "
    "known. To get what is owed at the end, go on with any input for `delay` frames while coming "
    "counts 0, -1, ...",
    "noise": "state.synthesis.noise starts anywhere in 0..2047: the seed of the noise",
}


def _describe_graph(name: str, graph: Graph) -> dict[str, Any]:
    return {
        "file": f"{name}.onnx",
        "delay": graph.delay,
        "inputs": {key: _describe_tensor(value) for key, value in graph.inputs.items()},
        "outputs": list(graph.outputs),
        "states": {
            key: _describe_tensor(value) | {"initial": _initial(value)}
            for key, value in graph.state.items()
        },
    }


def _describe_tensor(value: Tensor) -> dict[str, Any]:
    """Shape without the batch."""
    return {"shape": list(value.shape[1:]), "dtype": str(value.dtype).removeprefix("torch.")}


def _initial(value: Tensor) -> float | int | bool:
    """The number that all of a state begins with."""
    first: float | int | bool = value.flatten()[0].item() if value.numel() else 0
    if not bool((value == first).all()):
        raise ValueError("expected a state that begins with one value, got several")
    return first
