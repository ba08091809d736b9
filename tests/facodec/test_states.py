"""Stacking, unstacking and weighing states."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from facodec.states import stack_states, state_bytes, tensors_of, unstack_state


@dataclass(frozen=True)
class Inner:
    past: Tensor
    crop: int = 0


@dataclass(frozen=True)
class Outer:
    parts: tuple[Inner, ...]
    level: Tensor
    started: bool = True


def one(value: float, length: int = 3, crop: int = 0) -> Outer:
    past = torch.full((1, length, 2), value)
    return Outer((Inner(past, crop), Inner(-past, crop)), torch.full((1,), value))


def test_unstacking_undoes_stacking() -> None:
    states = [one(1.0), one(2.0), one(3.0)]
    batch = stack_states(states)
    assert batch.parts[0].past.shape == (3, 3, 2)
    for row, state in zip(unstack_state(batch), states, strict=True):
        assert row.started and row.parts[1].crop == 0
        for got, wanted in zip(tensors_of(row), tensors_of(state), strict=True):
            assert torch.equal(got, wanted)


def test_an_unstacked_state_owns_its_memory() -> None:
    rows = unstack_state(stack_states([one(1.0), one(2.0)]))
    for tensor in tensors_of(rows[1]):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("other", [one(1.0, length=4), one(1.0, crop=2)])
def test_streams_in_different_phases_do_not_stack(other: Outer) -> None:
    with pytest.raises(ValueError, match="expected streams in one phase"):
        stack_states([one(1.0), other])


def test_nothing_does_not_stack() -> None:
    with pytest.raises(ValueError, match="at least one state to stack, got none"):
        stack_states([])


def test_unequal_batches_do_not_unstack() -> None:
    with pytest.raises(ValueError, match="one batch size"):
        unstack_state(Outer((Inner(torch.zeros(2, 1, 1)),), torch.zeros(3)))


def test_bytes_are_those_of_all_tensors() -> None:
    assert state_bytes(one(0.0)) == 4 * (2 * 3 * 2 + 1)
