"""The folded constants of the steps, laid out as the steps in C read them."""

from __future__ import annotations

import ctypes
import logging
import math
from ctypes import c_void_p

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.bundled import conditioning, prosody
from facodec.bundled.eight_bits import in_bytes
from facodec.bundled.features import ENERGY_FLOOR, MEL_FLOOR, MEL_WINDOW, PITCH_WINDOW
from facodec.bundled.network import GLIDE
from facodec.bundled.steps.blocks import FastBlock, FastStack, matrix
from facodec.bundled.steps.blocks import Kept as FastKept
from facodec.bundled.steps.chains import FastChain
from facodec.bundled.steps.decoder import FastDecoder
from facodec.bundled.steps.encoder import FastEncoder
from facodec.bundled.steps.layouts import (
    Block,
    Chain,
    Decoder,
    Encoder,
    Fourier,
    Kept,
    Norm,
    Product,
    Stack,
    Synthesizer,
    constant,
)
from facodec.bundled.steps.products import Product as FastProduct
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
from facodec.config import DETAIL_LAYERS

log = logging.getLogger(__name__)

UNFIT = "the %s goes without compiled code, which is slower: its widths do not fit"
WHOLE_VECTORS = 16
"""Numbers that the longest vectors hold."""
PADDED_BINS = -(-BINS // WHOLE_VECTORS) * WHOLE_VECTORS


def encoder_constants(fast: FastEncoder, p: Packer) -> Encoder | None:
    """Constants of an encoder; None where its widths do not fit, which a warning says."""
    own, model = fast.features.own, fast.model
    stacks = {name: p.stack(stack) for name, stack in fast.stacks.items()}
    if not all(p.fits(stack.width) for stack in stacks.values()):
        log.warning(UNFIT, "encoder")
        return None
    return Encoder(
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


def decoder_constants(fast: FastDecoder, p: Packer) -> Decoder | None:
    """Constants of a decoder; None where its widths do not fit, which a warning says."""
    stack = fast.stack
    enter, leave = fast.condition
    widths = len(stack.offset), enter.matrix.shape[1], leave.matrix.shape[1]
    if not all(map(p.fits, widths)) or 2 * SUBFRAMES * fast.synthesizer.bands % WHOLE_VECTORS:
        log.warning(UNFIT, "decoder")
        return None
    return Decoder(
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


def _synthesizer(fast: FastDecoder, p: Packer) -> Synthesizer:
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


def _whole_bins(values: Tensor) -> Tensor:
    """(..., BINS) -> (..., PADDED_BINS)."""
    return F.pad(values, (0, PADDED_BINS - BINS))


def _turns(size: int) -> Tensor:
    """cos and -sin (size, 2) of a whole turn in ``size`` steps."""
    angle = torch.arange(size, dtype=torch.float64) * (2.0 * math.pi / size)
    return torch.stack((angle.cos(), -angle.sin()), dim=1)


class Packer:
    """Lays constants out as the C code reads them; ``owned`` must outlive its structures.

    ``panel``: columns that matrices are padded to a multiple of; ``halves``, ``bytes_``:
    whether those that are exact so may be packed in 16 and in 8 bits."""

    def __init__(self, panel: int, halves: bool, bytes_: bool) -> None:
        self._panel, self._halves, self._bytes = panel, halves, bytes_
        self.owned: list[object] = []

    @classmethod
    def of(cls, library: ctypes.CDLL) -> Packer:
        """A packer for what a library was compiled for."""
        return cls(
            constant(library, "PANEL"), *(bool(constant(library, k)) for k in ("HALVES", "BYTES"))
        )

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
        matrix, kind, scale = F.pad(product.matrix, (0, missing)), torch.float32, None
        if self._bytes and (found := in_bytes(matrix.t())) is not None:
            matrix, kind, scale = found.whole.t(), torch.int8, self.numbers(found.scale)
        elif self._halves and torch.equal(matrix.half().float(), matrix):
            kind = torch.float16
        panels = matrix.reshape(inner, -1, self._panel).transpose(0, 1)
        return Product(
            self.numbers(panels, kind),
            self.numbers(F.pad(product.bias, (0, missing))),
            scale,
            inner,
            columns + missing,
            8 * kind.itemsize,
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
