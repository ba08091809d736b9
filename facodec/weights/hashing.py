"""The hash of the weights in a model's identity."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import torch
from torch import Tensor, nn

from facodec.identity import DIGITS, ModelIdentity

GENERATION = 1
"""Raised when what the program itself does changes the meaning of codes or timbres, so that those
of before are refused whatever the weights."""


def identity_of(model: nn.Module) -> ModelIdentity:
    """The identity of a model: of exported graphs what they say, else by the weights it has now,
    those of its ``decoding_parts`` left out."""
    told = getattr(model, "identity", None)
    if isinstance(told, ModelIdentity):
        return told
    parts: tuple[str, ...] = model.decoding_parts  # type: ignore[assignment]
    heads = tuple(f"{part}." for part in parts)
    kept = {k: v for k, v in model.state_dict().items() if not k.startswith(heads)}
    name = str(model.name)
    return ModelIdentity(name, _hash(name, kept))


def _hash(name: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, shapes and values in the order of names. Numbers count as float16,
    little-endian: as weights are kept, so that full precision and its copy on disk agree."""
    found = sha256(f"facodec identity {GENERATION} {name}\n".encode())
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu()
        kind, dtype = ("<f2", torch.half) if tensor.is_floating_point() else ("<i8", torch.long)
        found.update(f"{key} {tuple(tensor.shape)}\n".encode())
        values = tensor.to(dtype).contiguous().numpy()
        found.update(values.astype(kind, copy=False).tobytes())
    return found.hexdigest()[:DIGITS]
