"""The states of many streams in preallocated tensors, one row each, gathered into batches.

Streams share a batch when their states agree in everything but the tensors' contents: when they
are in the same phase. Each phase has tensors of its own; those of start-up phases go with their
last stream.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from facodec.states import phase_of, tensors_of, with_tensors

FEWEST = 8
"""Rows of a phase to begin with; doubled when they are all taken."""


class Slot:
    """A stream's place in an arena; its row is free again when this is forgotten.

    ``detached``: the state of a stream that was last stepped alone, not in its row yet.
    """

    def __init__(self) -> None:
        self.detached: Any = None
        self._table: _Table | None = None
        self._row = -1

    @property
    def phase(self) -> Hashable:
        """Equal for streams that can share a batch now."""
        return self._table

    def move(self, table: _Table) -> None:
        """Leave the phase before for another."""
        self.leave()
        self._table, self._row = table, table.take()

    def leave(self) -> None:
        if self._table is not None:
            self._table.forgotten.append(self._row)

    def place(self) -> tuple[_Table, int]:
        if self._table is None:
            raise RuntimeError("this slot holds no state yet")
        return self._table, self._row

    __del__ = leave


class Arena:
    """States of any number of streams. May be used from several threads, each slot by one."""

    def __init__(self) -> None:
        self._tables: dict[Hashable, _Table] = {}
        self._lock = threading.Lock()

    def open(self, state: Any) -> Slot:
        """A place for a stream that begins with ``state`` (of a batch of one)."""
        slot = Slot()
        self.put([slot], state)
        return slot

    def gather(self, slots: Sequence[Slot], size: int) -> Any:
        """The states of streams in one phase as a batch of ``size`` >= their number; the rest of
        it are copies of the first, whose results are of no use."""
        if size == 1 and slots[0].detached is not None:
            return slots[0].detached
        with self._lock:
            table, _ = slots[0].place()
            for slot in slots:
                if slot.detached is not None:
                    table.write([slot.place()[1]], slot.detached)
                    slot.detached = None
            rows = [slot.place()[1] for slot in slots]
            return table.read(rows + rows[:1] * (size - len(rows)))

    def put(self, slots: Sequence[Slot], state: Any) -> None:
        """Keep the first rows of a batch as the states of these streams."""
        with self._lock:
            table = self._table(state)
            for slot in slots:
                if slot.phase is not table:
                    slot.move(table)
                slot.detached = None
            if len(slots) == 1 and next(tensors_of(state)).shape[0] == 1:
                slots[0].detached = state
            else:
                table.write([slot.place()[1] for slot in slots], state)

    @property
    def bytes(self) -> int:
        """Memory that is allocated for states now."""
        with self._lock:
            self._drop_unused()
            return sum(table.bytes for table in self._tables.values())

    def _table(self, state: Any) -> _Table:
        phase = phase_of(state)
        if phase not in self._tables:
            self._drop_unused()
            self._tables[phase] = _Table(state)
        return self._tables[phase]

    def _drop_unused(self) -> None:
        self._tables = {k: table for k, table in self._tables.items() if table.is_used()}


class _Table:
    """The tensors of one phase."""

    def __init__(self, state: Any) -> None:
        # Slots are forgotten wherever the garbage collector runs, maybe with the lock held: they
        # say so here, and their rows are free when somebody looks.
        self.forgotten: deque[int] = deque()
        self._capacity = FEWEST
        self._free = list(range(FEWEST))
        self._tensors = [t.new_zeros(FEWEST, *t.shape[1:]) for t in tensors_of(state)]
        self._words = [_words(tensor) for tensor in self._tensors]
        self._addresses = _addresses(self._tensors)
        self._like = with_tensors(state, iter(self._tensors))

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors)

    def is_used(self) -> bool:
        return len(self._free) + len(self.forgotten) < self._capacity

    def take(self) -> int:
        """A free row."""
        while self.forgotten:
            self._free.append(self.forgotten.popleft())
        if not self._free:
            self._free = list(range(self._capacity, 2 * self._capacity))
            self._capacity *= 2
            self._tensors = [torch.cat((t, torch.zeros_like(t))) for t in self._tensors]
            self._words = [_words(tensor) for tensor in self._tensors]
            self._addresses = _addresses(self._tensors)
        return self._free.pop()

    def read(self, rows: list[int]) -> Any:
        if len(rows) == 1:  # a view: steps never change the state that they are given
            parts = [tensor[rows[0] : rows[0] + 1] for tensor in self._tensors]
        else:
            index = torch.tensor(rows, device=self._tensors[0].device)
            parts = [tensor.index_select(0, index) for tensor in self._tensors]
        return with_tensors(self._like, iter(parts))

    def write(self, rows: list[int], state: Any) -> None:
        # A new state may be made of parts of the old one, which is about to be overwritten.
        parts = [self._own(tensor[: len(rows)]) for tensor in tensors_of(state)]
        index = torch.tensor(rows, device=self._tensors[0].device)
        for words, part in zip(self._words, parts, strict=True):
            words.index_copy_(0, index, _words(part))

    def _own(self, part: Tensor) -> Tensor:
        return part.clone() if part.untyped_storage().data_ptr() in self._addresses else part


def _addresses(tensors: list[Tensor]) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def _words(rows: Tensor) -> Tensor:
    """The same memory as rows of the largest integers that fit: the fewest to be copied."""
    flat = rows.contiguous().view(len(rows), math.prod(rows.shape[1:]))
    size = flat.shape[1] * flat.element_size()
    if size == 0:
        return flat
    fitting = (
        kind for kind in (torch.int64, torch.int32, torch.int16) if size % kind.itemsize == 0
    )
    kind = next(fitting, torch.uint8)
    aligned = flat.storage_offset() * flat.element_size() % kind.itemsize == 0
    return (flat if aligned else flat.clone()).view(kind)
