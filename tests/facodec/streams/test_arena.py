"""States in arenas: what goes in comes out, whatever else goes on around it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from facodec.states import tensors_of
from facodec.streams.arena import FEWEST, Arena, Slot


@dataclass(frozen=True)
class State:
    """An odd number of bytes a row, a scalar a row, and a plain value."""

    samples: Tensor
    flags: Tensor
    count: Tensor
    started: bool = True


def state(value: int, width: int = 5, started: bool = True) -> State:
    return State(
        torch.full((1, width), float(value)),
        torch.full((1, 3), value, dtype=torch.uint8),
        torch.full((1,), value),
        started,
    )


def value(arena: Arena, slot: Slot) -> int:
    (samples, flags, count) = tensors_of(arena.gather([slot], 1))
    assert (samples == count.item()).all() and (flags == count.item()).all()
    return int(count.item())


def advance(arena: Arena, slots: list[Slot], size: int, by: int = 1) -> None:
    """One step of a batch."""
    before = arena.gather(slots, size)
    assert before.samples.shape[0] == size
    after = State(before.samples + by, before.flags + by, before.count + by, before.started)
    arena.put(slots, after)


def test_batches_of_any_streams_in_any_order() -> None:
    arena = Arena()
    slots = [arena.open(state(10 * i)) for i in range(3 * FEWEST)]
    advance(arena, slots[::-2], 16)
    advance(arena, [slots[1]], 1)
    advance(arena, [slots[1], slots[0]], 2)
    found = [value(arena, slot) for slot in slots]
    wanted = [10 * i + i % 2 for i in range(3 * FEWEST)]
    wanted[0] += 1
    wanted[1] += 2
    assert found == wanted


def test_a_new_state_may_be_a_part_of_the_old_one() -> None:
    arena = Arena()
    slots = [arena.open(state(i)) for i in range(2)]
    advance(arena, slots, 2)
    old = arena.gather([slots[0]], 1)
    rolled = State(old.samples[:, [1, 2, 3, 4, 0]][:, :5], old.flags, old.count)
    arena.put([slots[0]], rolled)
    shifted = torch.cat((torch.zeros(1, 1), old.samples), 1)[:, 1:]  # a slice, not aligned
    arena.put([slots[0]], State(shifted, old.flags, old.count))
    advance(arena, slots, 2)
    assert [value(arena, slot) for slot in slots] == [2, 3]


def test_phases_are_apart_and_streams_move_between_them() -> None:
    arena = Arena()
    young, old = arena.open(state(1, started=False)), arena.open(state(2))
    assert young.phase != old.phase
    arena.put([young], state(7))
    assert young.phase == old.phase
    advance(arena, [young, old], 2)
    assert (value(arena, young), value(arena, old)) == (8, 3)


def test_memory_is_bounded_by_the_streams_there_are() -> None:
    arena = Arena()
    first = arena.open(state(0))
    most = 0
    for i in range(50 * FEWEST):
        passing = arena.open(state(i % 100, width=5 + i % 2))
        advance(arena, [passing], 1)
        del passing
        most = max(most, arena.bytes)
    assert most <= 2 * FEWEST * 64
    del first
    assert arena.bytes == 0


def test_threads_with_streams_of_their_own() -> None:
    arena = Arena()
    failures: list[BaseException] = []

    def work(base: int) -> None:
        try:
            slots = [arena.open(state(base + i)) for i in range(6)]
            for _ in range(60):
                advance(arena, slots[:4], 4)
                slots.append(arena.open(state(0)))
            assert [value(arena, s) for s in slots[:6]] == [
                (base + i + (60 if i < 4 else 0)) for i in range(6)
            ]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(20 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def advance_in_place(arena: Arena, slots: list[Slot], size: int) -> None:
    """Advances the rows themselves."""
    with arena.rows(slots, size) as (states, rows):
        assert len(rows) == size
        for tensor in tensors_of(states):
            tensor.index_add_(0, rows, torch.ones_like(tensor[rows]))


def test_rows_are_changed_in_place_and_idle_places_are_nobodys() -> None:
    arena = Arena()
    slots = [arena.open(state(10 * i)) for i in range(2 * FEWEST)]
    advance_in_place(arena, slots[1:4], 8)
    advance(arena, [slots[2]], 1)
    advance_in_place(arena, [slots[2], slots[0]], 2)
    found = [value(arena, slot) for slot in slots]
    assert found == [1, 11, 23, 31, *(10 * i for i in range(4, 2 * FEWEST))]


def test_rows_stay_where_they_are_while_somebody_works_on_them() -> None:
    arena = Arena()
    slots = [arena.open(state(i)) for i in range(FEWEST - 1)]
    opened: list[Slot] = []
    other = threading.Thread(target=lambda: opened.append(arena.open(state(77))))
    with arena.rows(slots, len(slots)) as (states, rows):
        other.start()  # finds no room, and has to wait until the tensors may be replaced
        for tensor in tensors_of(states):
            tensor.index_add_(0, rows, torch.ones_like(tensor[rows]))
        assert not opened
    other.join()
    assert [value(arena, slot) for slot in slots] == list(range(1, FEWEST))
    assert value(arena, opened[0]) == 77


def test_an_empty_slot_says_so() -> None:
    with pytest.raises(RuntimeError, match="no state"):
        Slot().place()
