"""Working on stream states as values: join several into a batch, take a batch apart, weigh one.

A state is a frozen dataclass, nested as deep as its model, of tensors (batch first), tuples and
plain values. Streams can share one batched step when their states agree in everything but the
tensors' contents, which is so for all streams of a model that are past their start-up.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

S = TypeVar("S")


def stack_states(states: Sequence[S]) -> S:
    """Join states of one or more streams each into the state of one batch, in the given order.

    Raises ValueError if the streams are not in the same phase: a different amount of context,
    as during start-up, or a different plain value.
    """
    if not states:
        raise ValueError("expected at least one state to stack, got none")
    return states[0] if len(states) == 1 else _join(states)


def unstack_state(state: S) -> list[S]:
    """Take the state of a batch apart into one state a stream; each owns its memory, so that
    keeping one does not keep the batch."""
    batch = {tensor.shape[0] for tensor in tensors_of(state)}
    if len(batch) != 1:
        raise ValueError(f"expected tensors of one batch size, got {sorted(batch)}")
    return [_row(state, i) for i in range(batch.pop())]


def tensors_of(state: Any) -> Iterator[Tensor]:
    """Every tensor in a state, in the order of its fields."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from tensors_of(part)
    elif is_dataclass(state):
        for name in _names(cast(type, type(state))):
            yield from tensors_of(getattr(state, name))


def with_tensors(state: S, tensors: Iterator[Tensor]) -> S:
    """Returns the state with other tensors, in the order of :func:`tensors_of`."""
    return cast(S, _with_tensors(state, tensors))


def phase_of(state: Any) -> Hashable:
    """Key of states whose streams may share a batch: everything but the batch and the contents of
    the tensors."""
    if isinstance(state, Tensor):
        return state.shape[1:]
    if isinstance(state, tuple):
        return tuple([phase_of(part) for part in state])
    if is_dataclass(state) and not isinstance(state, type):
        kind = type(state)
        return kind, tuple([phase_of(getattr(state, name)) for name in _names(kind)])
    return cast(Hashable, state)


def state_bytes(state: Any) -> int:
    """Bytes of all tensors in a state."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(state))


def _with_tensors(part: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(part, Tensor):
        return next(tensors)
    if isinstance(part, tuple):
        return tuple([_with_tensors(item, tensors) for item in part])
    if is_dataclass(part) and not isinstance(part, type):
        kind = type(part)
        values = [_with_tensors(getattr(part, name), tensors) for name in _names(kind)]
        return kind(**dict(zip(_names(kind), values, strict=True)))
    return part


@cache
def _names(kind: type) -> tuple[str, ...]:
    """Names of a dataclass's fields."""
    return tuple(field.name for field in fields(kind))


def _join(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        shapes = {part.shape[1:] for part in parts}
        if len(shapes) != 1:
            wanted = sorted(tuple(shape) for shape in shapes)
            raise ValueError(f"expected streams in one phase, got contexts of {wanted} values")
        return torch.cat(list(parts))
    if isinstance(first, tuple):
        return tuple(_join(column) for column in zip(*parts, strict=True))
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first)]
        return replace(first, **{n: _join([getattr(p, n) for p in parts]) for n in names})
    if any(part != first for part in parts):
        raise ValueError(f"expected streams in one phase, got {sorted(set(parts))}")
    return first


def _row(part: Any, index: int) -> Any:
    if isinstance(part, Tensor):
        return part[index : index + 1].clone()
    if isinstance(part, tuple):
        return tuple(_row(item, index) for item in part)
    if is_dataclass(part) and not isinstance(part, type):
        names = [field.name for field in fields(part)]
        return replace(part, **{n: _row(getattr(part, n), index) for n in names})
    return part
