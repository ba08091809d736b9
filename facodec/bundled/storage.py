"""Reading and writing weights of the live model.

float16 on disk, or 8 bits and a scale for each row where that says them exactly; float32 in memory.
Beside them ``model.json`` holds the sizes of the model and the weights' SHA-256, since the model's
identity tells nothing of its decoder; ``train.json`` the settings it was trained with.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from facodec.bundled.eight_bits import Bytes, in_bytes, linear_weights
from facodec.bundled.model import LiveModel
from facodec.config import LiveConfig
from facodec.files import read_json, write_bytes, write_text
from facodec.reasons import FileError, shown
from facodec.weights.reading import LARGEST_JSON, config_of, read_tensors

WEIGHTS = "live.safetensors"
SIZES = "model.json"
SCALE = ".scale"
"""Added to the name of a matrix in 8 bits, names its scales."""
DIGEST = "sha256"
FILLS = re.compile(r"[a-z][a-z_]*_")
"""Names of functions that change a tensor in place."""


def save_live(model: LiveModel, folder: Path) -> None:
    """Write the weights as safetensors, and the sizes and their digest beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {k: v.detach().cpu().half().contiguous() for k, v in model.state_dict().items()}
    for name, weight in linear_weights(model).items():
        if (found := in_bytes(weight.detach().cpu())) is not None:
            stored[name], stored[name + SCALE] = found.whole.contiguous(), found.scale
    data = save(stored)
    beside = asdict(model.config) | {DIGEST: sha256(data).hexdigest()}
    write_bytes(folder / WEIGHTS, data)
    write_text(folder / SIZES, json.dumps(beside, indent=2) + "\n")


def load_live(folder: Path) -> LiveModel:
    """Read what :func:`save_live` wrote; missing, unexpected, mis-shaped, damaged or invalid
    weights are a FileError naming them. Without a digest beside them they are read as they are."""
    values = read_json(folder / SIZES, LARGEST_JSON)
    told = values.pop(DIGEST, None) if isinstance(values, dict) else None
    config = config_of(values, folder / SIZES, LiveConfig)
    weights = _widened(read_tensors(folder / WEIGHTS, told), folder / WEIGHTS)
    _check_fit(config, weights, folder)
    model = LiveModel(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as e:
        raise FileError(f"{shown(folder / WEIGHTS)} does not fit its {SIZES}: {e}") from e
    return model.eval()


def _widened(stored: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Stored tensors as float32, by the names that a model has for them."""
    weights = {}
    for name, tensor in stored.items():
        scale = stored.get(name + SCALE)
        if tensor.dtype == torch.int8:
            if tensor.ndim != 2 or scale is None or scale.shape != tensor.shape[:1]:
                raise FileError(f"{shown(path)}: expected a scale for each row of {name}")
            weights[name] = Bytes(tensor, scale.float()).values
        elif not (name.endswith(SCALE) and name.removesuffix(SCALE) in stored):
            weights[name] = tensor.float()
    return weights


def _check_fit(config: LiveConfig, weights: dict[str, Tensor], folder: Path) -> None:
    """Before memory is taken for a model: its sizes must be those of the weights."""
    try:
        with _Unallocated():
            wanted = LiveModel(config).state_dict()
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as e:
        raise FileError(f"{shown(folder / SIZES)} holds sizes of no model: {e}") from e
    for name, tensor in wanted.items():
        if name in weights and weights[name].shape != tensor.shape:
            got, shape = tuple(weights[name].shape), tuple(tensor.shape)
            raise FileError(
                f"{shown(folder / WEIGHTS)} does not fit its {SIZES}: {name} is {got}, "
                f"expected {shape}"
            )
    missing = sorted(set(wanted) - set(weights))
    if missing:
        raise FileError(
            f"{shown(folder / WEIGHTS)} does not fit its {SIZES}: Missing key(s): {missing[:5]}"
        )


class _Unallocated(TorchFunctionMode):
    """While active, the weights of layers have shapes but take no memory and are not filled."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.empty:
            given["device"] = "meta"
        first = args[0] if args else given.get("tensor")
        if isinstance(first, Tensor) and first.is_meta and FILLS.fullmatch(func.__name__):
            return first
        return func(*args, **given)
