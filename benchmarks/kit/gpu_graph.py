"""A step with everything at a fixed address, so that a GPU can replay it as one graph.

Launching the hundreds of small kernels of a step one by one costs a GPU far more time than running
them; a graph is launched once. Without CUDA the same step is called instead of replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from facodec.states import tensors_of

State = Any
Step = Callable[[Tensor, State], tuple[Tensor, State]]
WARM_UP = 3
"""Runs before the capture: libraries set themselves up in them."""


class FixedStep:
    """``step(x, state) -> (y, state)`` for inputs shaped as ``x`` and a state that stays here.

    ``x``: on the model's device. ``state``: what the first call continues from; it is copied. A
    step must give a state of the same shapes and plain values as it was given, and must not look
    at values on the host. Each call moves its input there from pinned memory and its output back,
    and waits once, at the end.
    """

    @torch.inference_mode()
    def __init__(self, step: Step, x: Tensor, state: State) -> None:
        self._step = step
        self._input = x.clone()
        self._state = _copied(state)
        self._graph: torch.cuda.CUDAGraph | None = None
        pinned = x.device.type == "cuda"
        self._staged_input = torch.empty(x.shape, dtype=x.dtype, pin_memory=pinned)
        kept = _copied(self._state)
        for _ in range(WARM_UP):
            self._output = self._advance()
        if pinned:
            self._graph = self._capture()
        self._restore(kept)
        like = self._output
        self._staged_output = torch.empty(like.shape, dtype=like.dtype, pin_memory=pinned)

    @property
    def captured(self) -> bool:
        return self._graph is not None

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """x on the host -> y on the host, which the next call overwrites."""
        self._staged_input.copy_(x)
        self._input.copy_(self._staged_input, non_blocking=True)
        if self._graph is None:
            self._output = self._advance()
        else:
            self._graph.replay()
        self._staged_output.copy_(self._output, non_blocking=True)
        if self._input.device.type == "cuda":
            torch.cuda.current_stream(self._input.device).synchronize()
        return self._staged_output

    def _advance(self) -> Tensor:
        y, after = self._step(self._input, self._state)
        for here, new in zip(tensors_of(self._state), tensors_of(after), strict=True):
            if new is not here:
                here.copy_(new)
        return y

    def _capture(self) -> torch.cuda.CUDAGraph:
        """The step as a graph. CUDA wants the warm-up and the capture on a stream of their own."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._advance()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._output = self._advance()
        return graph

    def _restore(self, state: State) -> None:
        for here, there in zip(tensors_of(self._state), tensors_of(state), strict=True):
            here.copy_(there)


def _copied(state: State) -> State:
    """The state in memory of its own, of the same types."""
    if isinstance(state, Tensor):
        return state.clone(memory_format=torch.contiguous_format)
    if isinstance(state, tuple):
        return tuple(_copied(part) for part in state)
    if is_dataclass(state) and not isinstance(state, type):
        return replace(state, **{f.name: _copied(getattr(state, f.name)) for f in fields(state)})
    return state
