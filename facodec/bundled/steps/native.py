"""The bundled model's steps in C (``encoder.c`` and ``decoder.c`` in :mod:`facodec.native`), where
they can be compiled: one call a step with nothing between its operations, and what a stream gives
is the same bit for bit, whoever shares the call.

Beside PyTorch's operations, over 34 clips of unseen speech, C differs in 12 of 122,322 codes: ties
of two codewords within float32 precision (beside the model in float64, C differs in 13 and PyTorch
in 7). Audio of the same codes has an SNR of 122 dB and a log-mel L1 of 4e-7.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from ctypes import Array, Structure, c_int, c_int64, c_void_p
from functools import cache
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from facodec.bundled.steps.decoder import FastDecoder
from facodec.bundled.steps.encoder import FastEncoder
from facodec.bundled.steps.layouts import check
from facodec.bundled.steps.packing import Packer, decoder_constants, encoder_constants
from facodec.bundled.steps.states import Talker
from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, HOP, TIMBRE_DIM
from facodec.native import compiled
from facodec.states import tensors_of, with_tensors

log = logging.getLogger(__name__)

S = TypeVar("S")
Fast = TypeVar("Fast", FastEncoder, FastDecoder)


class NativeStep:
    """Steps of either direction; a :class:`facodec.bundled.steps.recorded.HopSteps`."""

    function: ClassVar[str]
    arguments: ClassVar[int]
    """Number of its function's arguments after the rows and their number."""

    def __init__(self, library: ctypes.CDLL, constants: Structure, owned: Sequence[object]) -> None:
        self._call = library[self.function]
        self._call.argtypes = [c_void_p] * 3 + [c_int64] + [c_void_p] * self.arguments
        self._call.restype = c_int
        self._constants, self._owned = constants, owned  # what they point to stays where it is
        self._address = ctypes.addressof(constants)

    def __call__(self, inputs: tuple[Tensor, ...], state: Any, like: S) -> tuple[Tensor, S]:
        """A step from ``state`` -> output and state after it, with the plain values of ``like``."""
        own = [part.clone(memory_format=torch.contiguous_format) for part in tensors_of(state)]
        out = self._step(inputs, own, torch.arange(len(own[0])))
        return out, with_tensors(like, iter(own))

    def in_place(self, inputs: tuple[Tensor, ...], states: Any, rows: Tensor) -> Tensor:
        """Steps the ``rows`` (B,) of ``states`` in place -> output."""
        return self._step(inputs, list(tensors_of(states)), rows)

    def _step(self, inputs: tuple[Tensor, ...], states: list[Tensor], rows: Tensor) -> Tensor:
        raise NotImplementedError

    def _run(self, states: list[Tensor], rows: Tensor, *tensors: Tensor) -> None:
        addresses: Array[c_void_p] = (c_void_p * len(states))(*[t.data_ptr() for t in states])
        self._check(
            self._call(
                self._address,
                addresses,
                rows.data_ptr(),
                len(rows),
                *[tensor.data_ptr() for tensor in tensors],
            )
        )

    @staticmethod
    def _check(failed: int) -> None:
        if failed < 0:
            raise MemoryError("no memory for a step")
        if failed:
            raise ValueError(f"expected codes in 0..{CODEBOOK_SIZE - 1}, got others")

    @staticmethod
    def _plain(tensor: Tensor, kind: torch.dtype, *shape: int) -> Tensor:
        """The tensor as C may read it: of this type and shape, row after row."""
        if tensor.dtype != kind or tensor.shape != shape:
            found = f"{tuple(tensor.shape)} of {tensor.dtype}"
            raise ValueError(f"expected {shape} of {kind}, got {found}")
        return tensor.contiguous()


class NativeEncoder(NativeStep):
    """audio (B, 200) -> codes (B, 6, 1). Raises ValueError for other shapes or types."""

    function = "facodec_encode"
    arguments = 2

    def __init__(self, library: ctypes.CDLL, constants: Structure, owned: Sequence[object]) -> None:
        super().__init__(library, constants, owned)
        self._look = library.facodec_look
        self._look.argtypes = [c_void_p] * 4 + [c_int64, c_void_p]
        self._look.restype = c_int

    def _step(self, inputs: tuple[Tensor, ...], states: list[Tensor], rows: Tensor) -> Tensor:
        audio = self._plain(inputs[0], torch.float32, len(rows), HOP)
        codes = torch.empty(len(rows), CODE_LAYERS, 1, dtype=torch.long)
        self._run(states, rows, audio, codes)
        return codes

    def timbres(self, talkers: Talker, rows: Tensor) -> Tensor:
        """The running estimates (B, 256) of the talkers in ``rows`` (B,)."""
        pitches, moments = talkers.pitches.contiguous(), talkers.moments.contiguous()
        out = torch.empty(len(rows), TIMBRE_DIM)
        self._check(
            self._look(
                self._address,
                pitches.data_ptr(),
                moments.data_ptr(),
                rows.data_ptr(),
                len(rows),
                out.data_ptr(),
            )
        )
        return out


class NativeDecoder(NativeStep):
    """codes (B, 6, 1), timbre (B, 256) -> audio (B, 200). Raises ValueError for other shapes or
    types, or codes outside of 0..1023."""

    function = "facodec_decode"
    arguments = 3

    def _step(self, inputs: tuple[Tensor, ...], states: list[Tensor], rows: Tensor) -> Tensor:
        codes = self._plain(inputs[0], torch.long, len(rows), CODE_LAYERS, 1)
        timbre = self._plain(inputs[1], torch.float32, len(rows), TIMBRE_DIM)
        audio = torch.empty(len(rows), HOP)
        self._run(states, rows, codes, timbre, audio)
        return audio


def native_encoder(fast: FastEncoder) -> NativeEncoder | None:
    """The steps of ``fast`` in C; None where they cannot be had."""
    packed = _packed(fast, encoder_constants)
    return None if packed is None else NativeEncoder(*packed)


def native_decoder(fast: FastDecoder) -> NativeDecoder | None:
    """The steps of ``fast`` in C; None where they cannot be had."""
    packed = _packed(fast, decoder_constants)
    return None if packed is None else NativeDecoder(*packed)


def _packed(
    fast: Fast, pack: Callable[[Fast, Packer], Structure | None]
) -> tuple[ctypes.CDLL, Structure, Sequence[object]] | None:
    """The library, what it is to know of ``fast``, and the memory which that points into."""
    library = _library(fast.filter)
    if library is None:
        return None
    packer = Packer.of(library)
    constants = pack(fast, packer)
    return None if constants is None else (library, constants, packer.owned)


def _library(like: Tensor) -> ctypes.CDLL | None:
    library = compiled.library(compiled.SOURCES) if like.device.type == "cpu" else None
    return library if library is not None and _fits(library) else None


@cache
def _fits(library: ctypes.CDLL) -> bool:
    """Whether a library computes with the sizes of Python; a warning says where it does not."""
    try:
        check(library)
    except ValueError as error:
        log.warning("the bundled model goes without compiled code, which is slower: %s", error)
        return False
    return True
