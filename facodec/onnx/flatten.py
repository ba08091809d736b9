"""States as lists of named tensors and back, for runtimes that know no dataclasses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

from torch import Tensor

S = TypeVar("S")


def named_tensors(state: object, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor in a state by the path to its field, as ``voice.first`` or ``content.0``."""
    if isinstance(state, Tensor):
        return {prefix: state}
    found: dict[str, Tensor] = {}
    for name, part in _parts(state):
        found |= named_tensors(part, f"{prefix}.{name}" if prefix else name)
    return found


def with_tensors(state: S, tensors: Iterator[Tensor]) -> S:
    """A state like ``state`` of other ``tensors``, in the order of :func:`named_tensors`."""
    if isinstance(state, Tensor):
        return next(tensors)  # type: ignore[return-value]
    if isinstance(state, tuple):
        return tuple(with_tensors(part, tensors) for part in state)  # type: ignore[return-value]
    if is_dataclass(state) and not isinstance(state, type):
        return replace(state, **{n: with_tensors(part, tensors) for n, part in _parts(state)})
    return state


def _parts(state: object) -> Iterator[tuple[str, object]]:
    if isinstance(state, tuple):
        yield from ((str(index), part) for index, part in enumerate(state))
    elif is_dataclass(state):
        yield from ((field.name, getattr(state, field.name)) for field in fields(state))
