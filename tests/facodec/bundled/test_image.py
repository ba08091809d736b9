"""The image for machines of 32-bit addresses: what C reads there is what it reads here."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import POINTER, Array, Structure, c_float, c_int64, c_void_p
from typing import Any, cast

import numpy as np
import pytest
import torch

from facodec.bundled.model import LiveModel
from facodec.bundled.steps.decoder import FastDecoder
from facodec.bundled.steps.encoder import FastEncoder
from facodec.bundled.steps.image import (
    PANEL,
    WORDS,
    Image,
    addresses_in,
    factors_of,
    image_of,
    narrow,
)
from facodec.bundled.steps.layouts import Decoder, Encoder, Stack
from facodec.bundled.steps.packing import Packer, decoder_constants, encoder_constants
from facodec.codec import Codec
from facodec.config import LiveConfig
from facodec.states import tensors_of
from tests.exactness import assert_equal_numbers


@pytest.fixture(scope="module")
def image(live: Codec) -> Image:
    made = image_of(cast(LiveModel, live.model))
    assert made is not None
    return made


@pytest.fixture(scope="module")
def memory(image: Image) -> bytearray:
    """The memory that a page fills with it, at address 0."""
    out, start = bytearray(image.about["bytes"]), 0

    def take(kind: str, count: int) -> np.ndarray:
        nonlocal start
        found = np.frombuffer(image.data, kind, count, start)
        start += found.nbytes
        return found

    for kind, at, count, *more in image.about["runs"]:
        if kind == "half":
            numbers = take("<f2", count).astype("<f4")
        elif kind == "scaled":
            inner, columns = more
            scales = take("<f4", count * columns).reshape(count, 1, columns)
            numbers = take("i1", count * inner * columns).reshape(count, inner, columns) * scales
        elif kind == "product":
            rank, columns = more
            left, right = take("<f4", count * rank), take("<f4", rank * columns)
            exact = left.reshape(count, rank).astype(float) @ right.reshape(rank, columns)
            numbers = exact.astype("<f4")
        else:
            numbers = take("u1", count)
        out[at : at + numbers.nbytes] = numbers.tobytes()
    assert start == len(image.data)
    return out


def test_addresses_take_four_bytes() -> None:
    class Inner(Structure):
        _fields_ = (("many", c_void_p * 3), ("number", c_int64))

    class Outer(Structure):
        _fields_ = (("first", c_float), ("one", POINTER(Inner)), ("inner", Inner * 2))

    assert ctypes.sizeof(narrow(Inner)) == 24 and ctypes.sizeof(narrow(Outer)) == 56
    assert list(addresses_in(Outer)) == [4, 8, 12, 16, 32, 36, 40]


def pairs(kind: type[Any], wide: Any, near: Any) -> Iterator[tuple[str, Any, Any]]:
    """(name, number or address here, there) of all that is in two structures of a kind."""
    for name, field, *_ in kind._fields_:
        one, other = getattr(wide, name), getattr(near, name)
        if issubclass(field, Structure):
            yield from pairs(field, one, other)
        elif issubclass(field, Array):
            for each, there in zip(one, other, strict=True):
                inner = issubclass(field._type_, Structure)
                yield from pairs(field._type_, each, there) if inner else [(name, each, there)]
        else:
            yield name, one, other


@pytest.mark.parametrize("direction", ["encoder", "decoder"])
def test_all_that_a_structure_leads_to_is_there(
    live: Codec, image: Image, memory: bytearray, direction: str
) -> None:
    packer = Packer(PANEL, halves=False, bytes_=False)
    model = cast(LiveModel, live.model)
    if direction == "encoder":
        kind, wide = Encoder, encoder_constants(FastEncoder(model), packer)
    else:
        kind, wide = Decoder, decoder_constants(FastDecoder(model), packer)
    owned = {each.data_ptr(): each for each in packer.owned if isinstance(each, torch.Tensor)}
    near = narrow(kind).from_buffer(memory, image.about[direction])
    seen = 0
    for name, here, there in pairs(kind, wide, near):
        if isinstance(here, int) and here in owned:
            wanted = owned[here].numpy()
            found = np.frombuffer(memory, wanted.dtype, wanted.size, there)
            if len(wanted.shape) == 2 and len(wanted) % WORDS == 0:
                assert_equal_numbers(found.reshape(wanted.shape), wanted)
            else:
                np.testing.assert_array_equal(found, wanted.ravel(), name)
            seen += 1
        elif isinstance(here, (int, float)) or here is None:
            assert there == (here or 0), name
        else:
            assert there % 64 == 0 and 0 < there < len(memory), name
    assert seen > 15


def test_blocks_of_a_stack_are_there(live: Codec, image: Image, memory: bytearray) -> None:
    near = narrow(Decoder).from_buffer(memory, image.about["decoder"]).stack
    packer = Packer(PANEL, halves=False, bytes_=False)
    wide: Stack = packer.stack(FastDecoder(cast(LiveModel, live.model)).stack)
    kind = type(wide.blocks.contents)
    size = ctypes.sizeof(narrow(kind))
    assert (near.count, near.width) == (wide.count, wide.width)
    for i in range(wide.count):
        block = narrow(kind).from_buffer(memory, near.blocks + i * size)
        assert block.expand.columns == wide.blocks[i].expand.columns
        last = (c_float * wide.width).from_address(wide.blocks[i].last)
        assert list(last) == list((c_float * wide.width).from_buffer(memory, block.last))


def test_states_are_those_before_the_first_hop(
    live: Codec, image: Image, memory: bytearray
) -> None:
    model = cast(LiveModel, live.model)
    states = {
        "encoder": FastEncoder(model).initial_state(1),
        "decoder": FastDecoder(model).initial_state(1, 0),
    }
    for direction, state in states.items():
        place = image.about["states"][direction]
        tensors = list(tensors_of(state))
        for pointer, tensor in zip(place["pointers"], tensors, strict=True):
            wanted = tensor.numpy()
            assert pointer + wanted.nbytes <= place["bytes"]
            at = place["at"] + pointer
            found = np.frombuffer(memory, wanted.dtype, wanted.size, at)
            np.testing.assert_array_equal(found, wanted.ravel())


def test_addresses_are_listed_and_lead_inside(image: Image, memory: bytearray) -> None:
    words = [int.from_bytes(memory[at : at + 4], "little") for at in image.about["addresses"]]
    assert len(words) > 100 and all(0 < word < len(memory) for word in words)


def test_little_is_to_be_fetched(image: Image) -> None:
    """Weights that are exact in 16 bits travel so, tables of words as what they are made of."""
    assert len(image.data) < 0.6 * image.about["bytes"]
    kinds = [run[0] for run in image.about["runs"]]
    assert kinds.count("half") > 20 and kinds.count("product") >= 5


def test_a_table_is_told_by_its_factors_or_not_at_all() -> None:
    torch.manual_seed(0)
    low = torch.randn(200, 9) @ torch.randn(9, 64)
    left, right = factors_of(low) or pytest.fail("expected factors")
    assert left.shape == (200, 9) and right.shape == (9, 64)
    assert_equal_numbers(left.double() @ right.double(), low)
    assert factors_of(torch.randn(200, 64)) is None


def test_there_is_none_of_widths_that_do_not_fit() -> None:
    narrow_model = LiveModel(LiveConfig(decoder_width=24))
    assert image_of(narrow_model) is None
