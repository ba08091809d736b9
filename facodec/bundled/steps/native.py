"""The bundled model's steps in C (``encoder.c`` and ``decoder.c`` in :mod:`facodec.native`), where
they can be compiled: one call a step with nothing between its operations, and what a stream gives
is the same bit for bit, whoever shares the call.

Beside PyTorch's operations, over 34 clips of unseen speech: 12 of 122,322 codes are others, where
two words are as near as float32 can tell (beside the model in float64 they are 13, and PyTorch's
7); audio of the same codes has an SNR of 122 dB and a log-mel L1 of 4e-7.

A structure here is the one of the same name in C.
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Sequence
from ctypes import POINTER, Array, Structure, c_float, c_int, c_int64, c_void_p
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled import conditioning, prosody
from facodec.bundled.features import ENERGY_FLOOR, MEL_FLOOR, MEL_WINDOW, PITCH_WINDOW
from facodec.bundled.model import GLIDE
from facodec.bundled.steps.blocks import FastBlock, FastStack, matrix
from facodec.bundled.steps.blocks import Kept as FastKept
from facodec.bundled.steps.chains import FastChain
from facodec.bundled.steps.products import Product as FastProduct
from facodec.bundled.steps.states import Talker
from facodec.bundled.synthesis import BINS, N_FFT, SUBFRAMES
from facodec.bundled.talker import (
    LONG,
    PITCH_PRIOR_FRAMES,
    PRIOR_FRAMES,
    SAME,
    SHORT,
    STRANGER,
    TONE_DEPTH,
    octaves,
    reference_class,
)
from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, DETAIL_LAYERS, HOP, TIMBRE_DIM
from facodec.native import compiled
from facodec.states import tensors_of, with_tensors

if TYPE_CHECKING:
    from facodec.bundled.steps.decoder import FastDecoder
    from facodec.bundled.steps.encoder import FastEncoder

log = logging.getLogger(__name__)

S = TypeVar("S")

UNFIT = "the %s goes without compiled code, which is slower: its widths do not fit"
WHOLE_VECTORS = 16
"""Numbers that the longest vectors hold."""
PADDED_BINS = -(-BINS // WHOLE_VECTORS) * WHOLE_VECTORS


class Product(Structure):
    _fields_ = (
        ("packed", c_void_p),
        ("bias", c_void_p),
        ("inner", c_int64),
        ("columns", c_int64),
        ("half", c_int64),
    )


class Norm(Structure):
    _fields_ = (("gain", c_void_p), ("bias", c_void_p), ("epsilon", c_float))


class Block(Structure):
    _fields_ = (
        ("last", c_void_p),
        ("scale", c_void_p),
        ("norm", Norm),
        ("expand", Product),
        ("project", Product),
    )


class Stack(Structure):
    _fields_ = (("blocks", POINTER(Block)), ("count", c_int64), ("width", c_int64))


class Kept(Structure):
    _fields_ = (
        ("filter", c_void_p),
        ("bias", c_void_p),
        ("offset", c_void_p),
        ("width", c_int64),
    )


class Fourier(Structure):
    _fields_ = (("turns", c_void_p), ("size", c_int64))


class Chain(Structure):
    _fields_ = (
        ("project", Product),
        ("words", Product * DETAIL_LAYERS),
        ("taken", c_void_p * (DETAIL_LAYERS - 1)),
        ("layers", c_int64),
        ("code_dim", c_int64),
    )


class Encoder(Structure):
    _fields_ = (
        ("mel_window", c_void_p),
        ("pitch_window", c_void_p),
        ("untangle", c_void_p),
        ("levels", c_void_p),
        ("mel_fourier", Fourier),
        ("mel_floor", c_float),
        ("energy_floor", c_float),
        ("mel_basis", Product),
        ("enter_prosody", Product),
        ("pitch", Product),
        ("enter_mels", Product),
        ("prosody", Stack),
        ("content", Stack),
        ("detail", Stack),
        ("timbre", Stack),
        ("kept", Kept),
        ("first_filter", c_void_p),
        ("first_bias", c_void_p),
        ("word_table", c_void_p),
        ("detail_filter", c_void_p),
        ("timbre_offset", c_void_p),
        ("content_chain", Chain),
        ("detail_chain", Chain),
        ("voice_head", Product),
        ("average", c_void_p),
        ("octaves", c_void_p),
        ("sections", c_void_p),
        ("limits", c_float * 2),
        ("tone_depth", c_float),
        ("stranger", c_float),
        ("same", c_float),
        ("prior", c_float),
        ("pitch_prior", c_float),
        ("reference", c_int64),
    )


class Synthesizer(Structure):
    _fields_ = (
        ("shape", Product),
        ("correction", Product),
        ("bands", c_int64),
        ("phase_bands", c_int64),
        ("window", c_void_p),
        ("noise", c_void_p),
        ("rise", c_void_p),
        ("bend", c_void_p),
        ("hertz", c_void_p),
        ("fourier", Fourier),
    )


class Decoder(Structure):
    _fields_ = (
        ("code_table", c_void_p),
        ("first_filter", c_void_p),
        ("first_bias", c_void_p),
        ("offset", c_void_p),
        ("stack", Stack),
        ("kept", Kept),
        ("condition_enter", Product),
        ("condition_leave", Product),
        ("head", Product),
        ("head_norm", Norm),
        ("glide", c_float),
        ("synthesizer", Synthesizer),
    )


class NativeStep:
    """What both directions share; stands in for
    :class:`facodec.bundled.steps.recorded.Recorded`."""

    function: ClassVar[str]
    arguments: ClassVar[int]
    """Of its function, after the rows and their number."""

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
        """A step of the ``rows`` (B,) of ``states``, which are then those after it."""
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
            raise ValueError(f"got a code that is none, wanted 0 to {CODEBOOK_SIZE - 1}")

    @staticmethod
    def _plain(tensor: Tensor, kind: torch.dtype, *shape: int) -> Tensor:
        """The tensor as C may read it: of this type and shape, row after row."""
        if tensor.dtype != kind or tensor.shape != shape:
            found = f"{tuple(tensor.shape)} of {tensor.dtype}"
            raise ValueError(f"got {found}, wanted {shape} of {kind}")
        return tensor.contiguous()


class NativeEncoder(NativeStep):
    """audio (B, 200) -> codes (B, 6, 1). Raises ValueError for other shapes or types."""

    function = "encode"
    arguments = 2

    def __init__(self, library: ctypes.CDLL, constants: Structure, owned: Sequence[object]) -> None:
        super().__init__(library, constants, owned)
        self._look = library.look
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
    types, or a code that there is none of."""

    function = "decode"
    arguments = 3

    def _step(self, inputs: tuple[Tensor, ...], states: list[Tensor], rows: Tensor) -> Tensor:
        codes = self._plain(inputs[0], torch.long, len(rows), CODE_LAYERS, 1)
        timbre = self._plain(inputs[1], torch.float32, len(rows), TIMBRE_DIM)
        audio = torch.empty(len(rows), HOP)
        self._run(states, rows, codes, timbre, audio)
        return audio


def native_encoder(fast: FastEncoder) -> NativeEncoder | None:
    """The steps of ``fast`` in C; None where they cannot be had."""
    library = _library(fast.filter)
    if library is None:
        return None
    p, own, model = _Packer(library), fast.features.own, fast.model
    stacks = {name: p.stack(stack) for name, stack in fast.stacks.items()}
    if not all(p.fits(stack.width) for stack in stacks.values()):
        log.warning(UNFIT, "encoder")
        return None
    constants = Encoder(
        mel_window=p.numbers(own.mel_window),
        pitch_window=p.numbers(own.pitch_window),
        untangle=p.numbers(_turns(MEL_WINDOW)),
        levels=p.numbers(fast.features.levels),
        mel_fourier=p.fourier(MEL_WINDOW // 2),
        mel_floor=MEL_FLOOR,
        energy_floor=ENERGY_FLOOR * PITCH_WINDOW,
        mel_basis=p.product(fast.features.bands),
        enter_prosody=p.product(fast.enter_prosody),
        pitch=p.product(fast.pitch),
        enter_mels=p.product(fast.enter_mels),
        kept=p.kept(fast.kept),
        first_filter=p.numbers(fast.filter),
        first_bias=p.numbers(fast.filter_bias),
        word_table=p.numbers(fast.words),
        detail_filter=p.numbers(fast.detail_filter),
        timbre_offset=p.numbers(fast.stacks["timbre"].offset),
        content_chain=p.chain(fast.content),
        detail_chain=p.chain(fast.detail),
        voice_head=p.product(FastProduct(matrix(model.voice_head), model.voice_head.bias)),
        average=p.numbers(torch.cat((model.average_first, model.average_second))),
        octaves=p.numbers(octaves(torch.arange(prosody.PITCH_CLASSES))),
        sections=p.numbers(torch.from_numpy(np.array(conditioning.sections())), torch.float64),
        limits=(LONG, SHORT),
        tone_depth=TONE_DEPTH,
        stranger=STRANGER,
        same=SAME,
        prior=PRIOR_FRAMES,
        pitch_prior=PITCH_PRIOR_FRAMES,
        reference=reference_class(),
        **stacks,
    )
    return NativeEncoder(library, constants, p.owned)


def native_decoder(fast: FastDecoder) -> NativeDecoder | None:
    """The same for a decoder."""
    library = _library(fast.filter)
    if library is None:
        return None
    p, stack = _Packer(library), fast.stack
    enter, leave = fast.condition
    widths = len(stack.offset), enter.matrix.shape[1], leave.matrix.shape[1]
    if not all(map(p.fits, widths)) or 2 * SUBFRAMES * fast.synthesizer.bands % WHOLE_VECTORS:
        log.warning(UNFIT, "decoder")
        return None
    constants = Decoder(
        code_table=p.numbers(fast.codes),
        first_filter=p.numbers(fast.filter),
        first_bias=p.numbers(fast.filter_bias),
        offset=p.numbers(stack.offset),
        stack=p.stack(stack),
        kept=p.kept(fast.kept),
        condition_enter=p.product(enter),
        condition_leave=p.product(leave),
        head=p.product(fast.head),
        head_norm=p.norm(fast.head_norm),
        glide=GLIDE,
        synthesizer=_synthesizer(fast, p),
    )
    return NativeDecoder(library, constants, p.owned)


def _synthesizer(fast: FastDecoder, p: _Packer) -> Synthesizer:
    s = fast.synthesizer
    own = s.own
    noise = torch.stack((own.noise_frames.real, own.noise_frames.imag), dim=1)
    shape = FastProduct(
        _whole_bins(s.shape.matrix.view(-1, 2, BINS)).flatten(1),
        _whole_bins(s.shape.bias.view(2, BINS)).flatten(),
    )
    # The transform back is not divided by its size, so that what goes into it is: exactly, by a
    # power of two.
    return Synthesizer(
        shape=p.product(shape),
        correction=p.product(FastProduct(_whole_bins(own.phase_correction))),
        bands=s.bands,
        phase_bands=s.phase_bands,
        window=p.numbers(own.window / N_FFT),
        noise=p.numbers(_whole_bins(noise / N_FFT)),
        rise=p.numbers(s.rise, torch.float64),
        bend=p.numbers(s.bend, torch.float64),
        hertz=p.numbers(s.hertz, torch.float64),
        fourier=p.fourier(N_FFT),
    )


def _library(like: Tensor) -> ctypes.CDLL | None:
    library = compiled.library(compiled.SOURCES) if like.device.type == "cpu" else None
    if library is not None:
        library.panel.restype = library.halves.restype = c_int64
    return library


def _whole_bins(values: Tensor) -> Tensor:
    """(..., BINS) -> (..., PADDED_BINS)."""
    return F.pad(values, (0, PADDED_BINS - BINS))


def _turns(size: int) -> Tensor:
    """cos and -sin (size, 2) of a whole turn in ``size`` steps."""
    angle = torch.arange(size, dtype=torch.float64) * (2.0 * math.pi / size)
    return torch.stack((angle.cos(), -angle.sin()), dim=1)


class _Packer:
    """Lays constants out as the C code reads them; ``owned`` must outlive its structures."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._panel, self._halves = int(library.panel()), bool(library.halves())
        self.owned: list[object] = []

    def fits(self, width: int) -> bool:
        """Whether rows of this width follow each other without padding."""
        return width % self._panel == 0

    def numbers(self, values: Tensor, dtype: torch.dtype = torch.float32) -> int:
        """The address of a copy."""
        own = values.detach().to(dtype).contiguous().clone()
        self.owned.append(own)
        return own.data_ptr()

    def product(self, product: FastProduct) -> Product:
        inner, columns = product.matrix.shape
        missing = -columns % self._panel
        panels = F.pad(product.matrix, (0, missing)).view(inner, -1, self._panel).transpose(0, 1)
        half = self._halves and torch.equal(panels.half().float(), panels)
        return Product(
            self.numbers(panels, torch.float16 if half else torch.float32),
            self.numbers(F.pad(product.bias, (0, missing))),
            inner,
            columns + missing,
            half,
        )

    def norm(self, norm: nn.LayerNorm) -> Norm:
        return Norm(self.numbers(norm.weight), self.numbers(norm.bias), norm.eps)

    def stack(self, stack: FastStack) -> Stack:
        blocks = (Block * len(stack.blocks))(*map(self._block, stack.blocks))
        self.owned.append(blocks)
        return Stack(blocks, len(stack.blocks), len(stack.offset))

    def _block(self, block: FastBlock) -> Block:
        return Block(
            self.numbers(block.last),
            self.numbers(block.scale),
            self.norm(block.norm),
            self.product(block.expand),
            self.product(FastProduct(block.unscaled)),
        )

    def kept(self, kept: FastKept) -> Kept:
        return Kept(
            self.numbers(torch.stack(kept.past_filter)),
            self.numbers(kept.bias),
            self.numbers(kept.offset),
            sum(kept.widths),
        )

    def fourier(self, size: int) -> Fourier:
        return Fourier(self.numbers(_turns(size)), size)

    def chain(self, chain: FastChain) -> Chain:
        words = [FastProduct(*pair) for pair in zip(chain.words, chain.starts, strict=True)]
        return Chain(
            self.product(chain.project),
            (Product * DETAIL_LAYERS)(*map(self.product, words)),
            (c_void_p * (DETAIL_LAYERS - 1))(*map(self.numbers, chain.taken)),
            len(words),
            len(chain.words[0]),
        )
