"""Checkpoints of the published model: the official files in, safetensors out and in again.

Nothing in a file is ever executed: ``.bin`` files are read with ``weights_only=True``.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from facodec.config import Ns3Config
from facodec.files import write_bytes
from facodec.published.model import Ns3Model
from facodec.reasons import FileError, shown
from facodec.weights.reading import WeightsError, read_tensors

PARTS = {"encoder": "ns3_facodec_encoder", "decoder": "ns3_facodec_decoder"}
"""Attribute of :class:`Ns3Model` and the file, without its ending, that holds its parameters."""
ENDINGS = (".safetensors", ".bin")
"""Endings of file names, in the order of preference."""
TRAINING_HEADS = (
    "f0_predictor",
    "phone_predictor",
    "x_timbre_predictor",
    "content_f0_predictor",
    "prosody_phone_predictor",
    "res_*_predictor",
    "*_gr_*",
)
"""First parts of names that only the training of the published model used."""
FIXED_BUFFERS = ("*.filter", "*.position_emb.pe", "*.mel_basis", "*.hann_window")
"""Names of constants that the code computes itself."""


class CheckpointError(FileError):
    """A checkpoint is not there, not readable, or not that of the model; the text says why."""


def load_ns3(directory: str | Path, config: Ns3Config | None = None) -> Ns3Model:
    """The published model with the parameters found in ``directory``: ``ns3_facodec_encoder`` and
    ``ns3_facodec_decoder``, each as ``.safetensors`` or ``.bin``, weight norm folded or not.

    Raises CheckpointError, naming every parameter that is missing, not expected or of a wrong
    shape; training heads and fixed buffers are left out.
    """
    paths = {part: _find(Path(directory), stem) for part, stem in PARTS.items()}
    model = Ns3Model(config)
    for part, path in paths.items():
        _fill(model.get_submodule(part), read_parameters(path), path)
    return model


def save_ns3(model: Ns3Model, directory: str | Path) -> list[Path]:
    """Write the parameters, weight norm folded, as two safetensors files that :func:`load_ns3`
    reads; gives their paths. The directory is made if need be."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    paths = []
    for part, stem in PARTS.items():
        state = model.get_submodule(part).state_dict()
        path = Path(directory, stem + ".safetensors")
        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        write_bytes(path, safetensors.torch.save(tensors, metadata={"model": model.name}))
        paths.append(path)
    return paths


def read_parameters(path: Path) -> dict[str, Tensor]:
    """All tensors of a ``.safetensors`` or ``.bin`` file by name, on the CPU.

    Raises CheckpointError if the file is neither, or would run code.
    """
    try:
        return read_tensors(path)
    except WeightsError as error:
        raise CheckpointError(str(error)) from error


def fold_weight_norm(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each pair ``x.weight_g``, ``x.weight_v`` by ``x.weight = g v / |v|``, the norm taken
    over all dimensions but the first. Pairs that do not fit each other are left as they are."""
    folded = dict(parameters)
    for name, direction in parameters.items():
        stem = name.removesuffix("_v")
        length = parameters.get(stem + "_g")
        if stem == name or length is None or stem in parameters:
            continue
        if length.shape != _norm_shape(direction):
            continue
        v, g = direction.float(), length.float()
        del folded[stem + "_v"], folded[stem + "_g"]
        # In double precision the order of summation, which differs between CPUs, does not show:
        # the weights, and the model's identity with them, are the same everywhere.
        norm = v.double().norm(dim=tuple(range(1, v.ndim)), keepdim=True)
        folded[stem] = g * v / norm.float()
    return folded


def _norm_shape(direction: Tensor) -> torch.Size:
    return torch.Size((direction.shape[0], *([1] * (direction.ndim - 1))))


def _find(directory: Path, stem: str) -> Path:
    candidates = [directory / (stem + ending) for ending in ENDINGS]
    for path in candidates:
        if path.is_file():
            return path
    if not directory.is_dir():
        raise CheckpointError(
            f"{shown(directory)}: no such directory, expected one that holds {stem}.bin"
        )
    names = " or ".join(path.name for path in candidates)
    there = ", ".join(sorted(shown(p.name) for p in directory.iterdir())[:10]) or "nothing"
    raise CheckpointError(f"{shown(directory)}: expected {names}, got {there}")


def _is_skipped(name: str) -> bool:
    head = name.split(".", 1)[0]
    return any(fnmatchcase(head, pattern) for pattern in TRAINING_HEADS) or any(
        fnmatchcase(name, pattern) for pattern in FIXED_BUFFERS
    )


def _fill(module: nn.Module, parameters: Mapping[str, Tensor], path: Path) -> None:
    given = {name: tensor for name, tensor in parameters.items() if not _is_skipped(name)}
    folded = fold_weight_norm(given)
    wanted = module.state_dict()
    problems = _problems(folded, wanted)
    if problems:
        text = "\n  ".join(problems)
        raise CheckpointError(f"{shown(path)}: not a checkpoint of this model:\n  {text}")
    module.load_state_dict(folded)


def _problems(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """A line for every name that is missing, unexpected or of a wrong shape."""
    lines: list[str] = []
    halves: set[str] = set()
    for name, target in wanted.items():
        pair = {part for part in (name + "_g", name + "_v") if part in found}
        if name in found:
            if found[name].shape != target.shape:
                got, want = tuple(found[name].shape), tuple(target.shape)
                lines.append(f"wrong shape: {name}: expected {want}, got {got}")
            continue
        halves |= pair
        if len(pair) == 2:
            shapes = ", ".join(f"{part} {tuple(found[part].shape)}" for part in sorted(pair))
            lines.append(f"wrong shape: {shapes} do not fit each other")
        else:
            half = f" (only {pair.pop()} is there)" if pair else ""
            lines.append(f"missing: {name}{half}")
    lines += [f"unexpected: {name}" for name in found if name not in wanted and name not in halves]
    return lines
