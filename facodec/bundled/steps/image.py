"""The bundled model as one block of memory for its steps in WebAssembly: the constants, laid out as
C reads them where addresses take 32 bits, and the states before the first hop.

A page that computes the codec has the same C steps (:mod:`facodec.native.webassembly`), and
fetches the image from the server, with what :attr:`Image.about` tells of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from ctypes import Array, Structure, c_uint32, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from facodec.bundled.eight_bits import in_bytes
from facodec.bundled.network import LiveNetwork
from facodec.bundled.steps.decoder import FastDecoder
from facodec.bundled.steps.encoder import FastEncoder
from facodec.bundled.steps.layouts import CONSTANTS, KINDS
from facodec.bundled.steps.packing import Packer, decoder_constants, encoder_constants
from facodec.config import CODEBOOK_SIZE
from facodec.states import tensors_of

LANES = 4
"""Numbers in a vector of WebAssembly, 128 bits."""
PANEL = 4 * LANES
"""Columns of a panel there, see ``products.h``."""
ALIGNED = 64
"""Bytes that everything in an image begins at a multiple of."""
WORDS = CODEBOOK_SIZE + 1
"""Rows of a table of what a layer's words do (:func:`facodec.bundled.steps.chains.word_table`). Its
rank is no more than the dimensions of the words, and one."""
NEGLIGIBLE = 2e-7
"""Singular values, relative to the largest, that are but the rounding of float32."""


@dataclass(frozen=True)
class Image:
    """Everything that a machine of 32-bit addresses needs to compute the steps.

    ``about``, values of JSON: ``bytes`` of the memory; ``encoder``, ``decoder``: where its
    structures of ``facodec.h`` lie; ``states``: of either direction ``at`` and ``bytes`` of the
    tensors of a stream before its first hop, and ``pointers``, from there to each; ``addresses``:
    where the addresses lie, which count from the beginning of the image; ``sizes`` and
    ``constants`` that the steps must have been compiled with; ``runs`` of what ``data`` fills the
    memory with, one after the other: ``["bytes", place, count]``; ``["half", place, count]``,
    float16 to be widened to float32; ``["scaled", place, panels, inner, columns]``, a scale in
    float32 for each column of each panel, and then the panels (inner, columns) of whole numbers of
    8 bits that it is to multiply; or ``["product", place, rows, rank, columns]``, two matrices
    (rows, rank) and (rank, columns) of float32 to be multiplied.
    """

    about: dict[str, Any]
    data: bytes


def image_of(model: LiveNetwork) -> Image | None:
    """The image of a model on a CPU; None where its widths do not fit, which a warning says."""
    packer = Packer(PANEL, halves=False, bytes_=False)
    fast_encoder, fast_decoder = FastEncoder(model), FastDecoder(model)
    encoder = encoder_constants(fast_encoder, packer)
    decoder = decoder_constants(fast_decoder, packer)
    if encoder is None or decoder is None:
        return None
    writer = _Writer(packer.owned)
    kinds: Mapping[str, Any] = KINDS
    about = {
        "encoder": writer.structure(encoder),
        "decoder": writer.structure(decoder),
        "states": {
            "encoder": writer.state(tensors_of(fast_encoder.initial_state(1))),
            "decoder": writer.state(tensors_of(fast_decoder.initial_state(1, seed=0))),
        },
        "sizes": {name: ctypes.sizeof(narrow(kind)) for name, kind in kinds.items()},
        "constants": {**CONSTANTS, "PANEL": PANEL, "HALVES": 0, "BYTES": 0},
        "addresses": writer.addresses,
        "runs": writer.runs,
        "bytes": writer.size,
    }
    return Image(about, bytes(writer.data))


@cache
def narrow(kind: Any) -> Any:
    """The C type as it is where addresses take 32 bits."""
    if _is_address(kind):
        return c_uint32
    if _is_array(kind):
        return narrow(kind._type_) * kind._length_
    if _is_structure(kind):
        fields = tuple((name, narrow(field)) for name, field, *_ in kind._fields_)
        return type(kind.__name__, (Structure,), {"_fields_": fields})
    return kind


def addresses_in(kind: Any) -> Iterator[int]:
    """Yields where the addresses lie in the narrow layout of a C type, in bytes from its start."""
    if _is_address(kind):
        yield 0
    elif _is_array(kind):
        step = ctypes.sizeof(narrow(kind._type_))
        for i in range(kind._length_):
            yield from (i * step + at for at in addresses_in(kind._type_))
    elif _is_structure(kind):
        for name, field, *_ in kind._fields_:
            start = getattr(narrow(kind), name).offset
            yield from (start + at for at in addresses_in(field))


def _is_address(kind: Any) -> bool:
    return kind is c_void_p or hasattr(kind, "contents")


def _is_array(kind: Any) -> bool:
    return issubclass(kind, Array)


def _is_structure(kind: Any) -> bool:
    return issubclass(kind, Structure)


class _Writer:
    """Fills an image. ``owned``: the tensors and arrays of structures that addresses lead to.
    Nothing lies at its beginning, so that no address is 0."""

    def __init__(self, owned: Iterable[object]) -> None:
        self._owned = {_address_of(each): each for each in owned}
        self._placed: dict[int, int] = {}
        self.size = ALIGNED
        self.data = bytearray()
        self.runs: list[list[str | int]] = []
        self.addresses: list[int] = []

    def structure(self, value: Structure | Array[Any]) -> int:
        """Places a structure, or an array of them, behind all that it leads to; returns where."""
        narrowed = self._narrowed(type(value), value)
        at = self._room(ctypes.sizeof(narrowed))
        self.runs.append(["bytes", at, ctypes.sizeof(narrowed)])
        self.data += bytes(narrowed)
        for offset in addresses_in(type(value)):
            if c_uint32.from_buffer(narrowed, offset).value:
                self.addresses.append(at + offset)
        return at

    def state(self, tensors: Iterable[Tensor]) -> dict[str, Any]:
        """Places tensors side by side."""
        placed = [self._tensor(tensor) for tensor in tensors]
        return {
            "at": placed[0],
            "bytes": self.size - placed[0],
            "pointers": [at - placed[0] for at in placed],
        }

    def _narrowed(self, kind: Any, value: Any) -> Any:
        if _is_address(kind):
            address = ctypes.cast(value, c_void_p).value if value else None
            return self._place(address) if address else 0
        if _is_array(kind):
            return narrow(kind)(*[self._narrowed(kind._type_, each) for each in value])
        if _is_structure(kind):
            fields = [(getattr(value, name), field) for name, field, *_ in kind._fields_]
            return narrow(kind)(*[self._narrowed(field, part) for part, field in fields])
        return value

    def _place(self, address: int) -> int:
        if address not in self._placed:
            owned = self._owned[address]
            place = self._tensor if isinstance(owned, Tensor) else self.structure
            self._placed[address] = place(owned)  # type: ignore[arg-type]
        return self._placed[address]

    def _tensor(self, tensor: Tensor) -> int:
        own = tensor.detach().contiguous()
        size = own.element_size()
        at = self._room(own.numel() * size)
        is_table = own.ndim == 2 and not len(own) % WORDS
        start = at
        for part in own.split(WORDS) if is_table else [own]:
            self._numbers(start, part)
            start += part.numel() * size
        return at

    def _numbers(self, at: int, numbers: Tensor) -> None:
        """Fills memory with numbers, in as few bytes of data as they can be told exactly."""
        half = numbers.half() if numbers.dtype == torch.float32 else None
        if half is not None and torch.equal(half.float(), numbers):
            self._fill(["half", at, numbers.numel()], half)
        elif half is not None and numbers.ndim == 3 and (found := in_bytes(_columns(numbers))):
            count, inner, columns = numbers.shape
            whole = found.whole.unflatten(0, (count, columns)).transpose(1, 2)
            self._fill(["scaled", at, count, inner, columns], found.scale, whole)
        elif numbers.ndim == 2 and len(numbers) == WORDS and (factors := factors_of(numbers)):
            rank, columns = factors[1].shape
            self._fill(["product", at, WORDS, rank, columns], *factors)
        else:
            self._fill(["bytes", at, numbers.numel() * numbers.element_size()], numbers)

    def _room(self, bytes_: int) -> int:
        at = self.size
        self.size += -(-bytes_ // ALIGNED) * ALIGNED
        return at

    def _fill(self, run: list[str | int], *data: Tensor) -> None:
        self.runs.append(run)
        for part in data:
            self.data += part.contiguous().numpy().tobytes()


def _columns(panels: Tensor) -> Tensor:
    """Panels (n, inner, PANEL) of a matrix -> its columns, a row each."""
    return panels.transpose(1, 2).flatten(0, 1)


def factors_of(table: Tensor) -> tuple[Tensor, Tensor] | None:
    """Two matrices (n, rank) and (rank, width), float32, whose product is a table (n, width) but
    for rounding; None where they would not be smaller by half."""
    left, sizes, right = torch.linalg.svd(table.double(), full_matrices=False)
    rank = int((sizes > NEGLIGIBLE * sizes[0]).sum())
    if 2 * rank * sum(table.shape) > table.numel():
        return None
    return (left[:, :rank] * sizes[:rank]).float(), right[:rank].float()


def _address_of(owned: object) -> int:
    return owned.data_ptr() if isinstance(owned, Tensor) else ctypes.addressof(owned)  # type: ignore[arg-type]
