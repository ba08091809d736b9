"""A step recorded as one TorchScript function: no Python between its operations, which is a third
of a small step's time, and other threads may run Python during all of it."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from facodec.fast.products import Shelf
from facodec.states import tensors_of, with_tensors

log = logging.getLogger(__name__)

S = TypeVar("S")
Step = Callable[..., tuple[Tensor, S]]
Graph = Callable[..., Sequence[Tensor]]


class Recorded:
    """``step`` (inputs..., state) -> (output, state), its products from ``shelf``.

    Recorded when first called, once for few streams and once for many. Where PyTorch cannot
    record (TorchScript is deprecated), the step runs as it is.
    """

    def __init__(self, step: Step[Any], shelf: Shelf) -> None:
        self._step, self._shelf = step, shelf
        self._graphs: dict[bool, Graph | None] = {}
        self._lock = threading.RLock()

    def __call__(self, inputs: tuple[Tensor, ...], state: S, like: S) -> tuple[Tensor, S]:
        """``like``: a state whose plain values are those that the new state has."""
        packed = self._shelf.packed(inputs[0].shape[0])
        graph = self._graph(inputs, state, packed)
        if graph is None:
            return self._plainly(inputs, state, packed)
        out, *after = graph(*inputs, *tensors_of(state), *packed)
        return out, with_tensors(like, iter(after))

    def _plainly(
        self, inputs: tuple[Tensor, ...], state: S, packed: list[Tensor]
    ) -> tuple[Tensor, S]:
        with self._lock:
            self._shelf.use(packed)
            return self._step(*inputs, state)

    def _graph(self, inputs: tuple[Tensor, ...], state: Any, packed: list[Tensor]) -> Graph | None:
        many = bool(packed)
        if many not in self._graphs:
            with self._lock:
                if many not in self._graphs:
                    self._graphs[many] = self._record(inputs, state, packed)
        return self._graphs[many]

    def _record(self, inputs: tuple[Tensor, ...], state: Any, packed: list[Tensor]) -> Graph | None:
        parts = list(tensors_of(state))

        def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
            given, rest = tensors[: len(inputs)], tensors[len(inputs) :]
            self._shelf.use(list(rest[len(parts) :]))
            out, after = self._step(*given, with_tensors(state, iter(rest[: len(parts)])))
            return out, *tensors_of(after)

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph = torch.jit.trace(flat, (*inputs, *parts, *packed), check_trace=False)
        except (AttributeError, RuntimeError) as error:
            log.info("steps are not recorded: %s", error)
            return None
        finally:
            self._shelf.use([])
        return graph  # type: ignore[no-any-return]
