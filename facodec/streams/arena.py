"""The states of many streams in preallocated tensors, one row each, gathered into batches.

Streams share a batch when their states agree in everything but the tensors' contents: when they
are in the same phase. Each phase has tensors of its own; those of start-up phases go with their
last stream. A step may be given copies of its rows (:meth:`Arena.gather`, :meth:`Arena.put`) or
work on the rows themselves (:meth:`Arena.rows`).
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facodec.states import phase_of, tensors_of, with_tensors

FEWEST = 8
"""Rows of a phase to begin with; doubled when they are all taken."""
NOBODY = 0
"""The row that idle places of a batch work on."""


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
        self._idle = threading.Condition(self._lock)
        self._at_work = 0  # who uses rows now

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
            table, rows = _attach(slots)
            return table.read(rows + rows[:1] * (size - len(rows)))

    def read(self, slot: Slot) -> Any:
        """A stream's state (of a batch of one) as a value, which no later step changes."""
        with self._lock:
            if slot.detached is not None:
                return slot.detached
            table, row = slot.place()
            state = table.read([row])
            return with_tensors(state, (tensor.clone() for tensor in tensors_of(state)))

    @contextmanager
    def rows(self, slots: Sequence[Slot], size: int) -> Iterator[tuple[Any, Tensor]]:
        """For streams in one phase: the states of the phase, all of them, and which rows (size,)
        are those of the streams, to be changed in place; what is left of ``size`` is a row that
        is nobody's. Meanwhile the rows stay where they are."""
        with self._lock:
            table, rows = _attach(slots)
            states = table.states
            self._at_work += 1
        try:
            # Not by torch.tensor, which lets other threads run Python: they do not let go at once.
            index = torch.from_numpy(np.array(rows + [NOBODY] * (size - len(rows))))
            device = next(tensors_of(states)).device
            yield states, index if device.type == "cpu" else index.to(device)
        finally:
            with self._lock:
                self._at_work -= 1
                self._idle.notify_all()

    def put(self, slots: Sequence[Slot], state: Any) -> None:
        """Keep the first rows of a batch as the states of these streams."""
        with self._lock:
            table = self._table(state)
            for slot in slots:
                if slot.phase is not table:
                    if table.is_full():  # it gets other tensors, which nobody may be using
                        self._idle.wait_for(lambda: not self._at_work)
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


def _attach(slots: Sequence[Slot]) -> tuple[_Table, list[int]]:
    """The table of streams in one phase, and their rows in it, which hold their states now."""
    table, _ = slots[0].place()
    for slot in slots:
        if slot.detached is not None:
            table.write([slot.place()[1]], slot.detached)
            slot.detached = None
    return table, [slot.place()[1] for slot in slots]


class _Table:
    """The tensors of one phase. ``states``: all of them as one batch."""

    def __init__(self, state: Any) -> None:
        # Slots are forgotten wherever the garbage collector runs, maybe with the lock held: they
        # say so here, and their rows are free when somebody looks.
        self.forgotten: deque[int] = deque()
        self._capacity = FEWEST
        self._free = list(range(NOBODY + 1, FEWEST))
        self._lay_out(state, [t.new_zeros(FEWEST, *t.shape[1:]) for t in tensors_of(state)])

    def _lay_out(self, like: Any, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        self._words = [_words(tensor) for tensor in tensors]
        self._addresses = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.states = with_tensors(like, iter(tensors))

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors)

    def is_used(self) -> bool:
        return len(self._free) + len(self.forgotten) < self._capacity - 1

    def is_full(self) -> bool:
        """Whether the next row to be taken means more of them."""
        while self.forgotten:
            self._free.append(self.forgotten.popleft())
        return not self._free

    def take(self) -> int:
        """A free row."""
        if self.is_full():
            self._free = list(range(self._capacity, 2 * self._capacity))
            self._capacity *= 2
            doubled = [torch.cat((t, torch.zeros_like(t))) for t in self._tensors]
            self._lay_out(self.states, doubled)
        return self._free.pop()

    def read(self, rows: list[int]) -> Any:
        if len(rows) == 1:  # a view: steps never change the state that they are given
            parts = [tensor[rows[0] : rows[0] + 1] for tensor in self._tensors]
        else:
            index = torch.tensor(rows, device=self._tensors[0].device)
            parts = [tensor.index_select(0, index) for tensor in self._tensors]
        return with_tensors(self.states, iter(parts))

    def write(self, rows: list[int], state: Any) -> None:
        # A new state may be made of parts of the old one, which is about to be overwritten.
        parts = [self._own(tensor[: len(rows)]) for tensor in tensors_of(state)]
        index = torch.tensor(rows, device=self._tensors[0].device)
        for words, part in zip(self._words, parts, strict=True):
            words.index_copy_(0, index, _words(part))

    def _own(self, part: Tensor) -> Tensor:
        return part.clone() if part.untyped_storage().data_ptr() in self._addresses else part


def _words(rows: Tensor) -> Tensor:
    """Views the memory as rows of the largest integers that fit: the fewest to be copied."""
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
