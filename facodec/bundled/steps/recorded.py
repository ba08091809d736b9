"""A step recorded as one TorchScript function: no Python between its operations, which is a third
of a small step's time, and other threads may run Python during all of it."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from facodec.bundled.steps.products import Shelf
from facodec.states import tensors_of, with_tensors

log = logging.getLogger(__name__)

S = TypeVar("S")
Step = Callable[..., tuple[Tensor, S]]
Graph = Callable[..., Sequence[Tensor]]


class HopSteps(Protocol):
    """Steps of one direction, a hop of many streams each."""

    def __call__(self, inputs: tuple[Tensor, ...], state: S, like: S) -> tuple[Tensor, S]:
        """A step from ``state`` -> output and the state after it, with the plain values of
        ``like``."""

    def in_place(self, inputs: tuple[Tensor, ...], states: Any, rows: Tensor) -> Tensor:
        """Steps the ``rows`` (B,) of ``states`` in place -> output."""


class Recorded:
    """``step`` (inputs..., state) -> (output, state), its products from ``shelf``.

    Recorded when first called: for few streams, for many, and for each of these in place. Where
    PyTorch cannot record (TorchScript is deprecated), the step runs as it is.
    """

    def __init__(self, step: Step[Any], shelf: Shelf) -> None:
        self._step, self._shelf = step, shelf
        self._graphs: dict[tuple[bool, bool], Graph | None] = {}
        self._lock = threading.RLock()

    def __call__(self, inputs: tuple[Tensor, ...], state: S, like: S) -> tuple[Tensor, S]:
        """``like``: a state whose plain values are those that the new state has."""
        packed = self._shelf.packed(inputs[0].shape[0])
        graph = self._graph(inputs, state, packed)
        if graph is None:
            return self._plainly(inputs, state, packed)
        out, *after = graph(*inputs, *tensors_of(state), *packed)
        return out, with_tensors(like, iter(after))

    def in_place(self, inputs: tuple[Tensor, ...], states: S, rows: Tensor) -> Tensor:
        """Steps the ``rows`` (B,), two or more, of ``states`` in place -> output: for steps that
        leave every plain value of a state as it is."""
        packed = self._shelf.packed(len(rows))
        graph = self._graph(inputs, states, packed, rows)
        if graph is None:
            with self._lock:
                self._shelf.use(packed)
                return self._step_rows(inputs, states, rows)
        (out,) = graph(*inputs, *tensors_of(states), *packed, rows)
        return out

    def _plainly(
        self, inputs: tuple[Tensor, ...], state: S, packed: list[Tensor]
    ) -> tuple[Tensor, S]:
        with self._lock:
            self._shelf.use(packed)
            return self._step(*inputs, state)

    def _step_rows(self, inputs: tuple[Tensor, ...], states: Any, rows: Tensor) -> Tensor:
        parts = (tensor.index_select(0, rows) for tensor in tensors_of(states))
        out, after = self._step(*inputs, with_tensors(states, parts))
        for tensor, new in zip(tensors_of(states), tensors_of(after), strict=True):
            tensor.index_copy_(0, rows, new)
        return out

    def _graph(
        self,
        inputs: tuple[Tensor, ...],
        state: Any,
        packed: list[Tensor],
        rows: Tensor | None = None,
    ) -> Graph | None:
        kind = bool(packed), rows is not None
        if kind not in self._graphs:
            with self._lock:
                if kind not in self._graphs:
                    self._graphs[kind] = self._record(inputs, state, packed, rows)
        return self._graphs[kind]

    def _record(
        self,
        inputs: tuple[Tensor, ...],
        state: Any,
        packed: list[Tensor],
        rows: Tensor | None,
    ) -> Graph | None:
        # To record a step is to take it: on copies, where it would change what it is given.
        parts = [part if rows is None else part.clone() for part in tensors_of(state)]

        def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
            given, rest = tensors[: len(inputs)], tensors[len(inputs) :]
            own, rest = rest[: len(parts)], rest[len(parts) :]
            self._shelf.use(list(rest[: len(packed)]))
            if rows is None:
                out, after = self._step(*given, with_tensors(state, iter(own)))
                return out, *tensors_of(after)
            return (self._step_rows(given, with_tensors(state, iter(own)), rest[-1]),)

        arguments = (*inputs, *parts, *packed, *(() if rows is None else (rows,)))
        try:
            graph: Graph | None = record(flat, arguments)
            return graph
        finally:
            self._shelf.use([])


def record(function: Callable[..., Any], examples: tuple[Tensor, ...]) -> Any:
    """The function as TorchScript that does what it did to the examples; None where PyTorch
    cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.trace(function, examples, check_trace=False)
    except (AttributeError, RuntimeError) as error:
        log.info("steps are not recorded: %s", error)
        return None
