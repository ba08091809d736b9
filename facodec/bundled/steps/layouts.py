"""Layouts and sizes that the steps in C were compiled for, to be compared with those of Python:
each structure here is the one of the same name in ``facodec.h``."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import POINTER, Structure, c_char_p, c_float, c_int64, c_void_p
from typing import Any

from facodec.bundled.causal import CONTEXT
from facodec.bundled.conditioning import sections
from facodec.bundled.features import HISTORY, LAGS, MEL_BANDS, MEL_WINDOW, MIN_LAG
from facodec.bundled.prosody import LEVELS, PITCH_CLASSES
from facodec.bundled.steps.states import LARGEST
from facodec.bundled.synthesis import N_FFT, NOISE_FRAMES, SUBFRAMES, TOP_HARMONIC
from facodec.config import DETAIL_LAYERS, FRAME_FORMAT


class Product(Structure):
    _fields_ = (
        ("packed", c_void_p),
        ("bias", c_void_p),
        ("scale", c_void_p),
        ("inner", c_int64),
        ("columns", c_int64),
        ("bits", c_int64),
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


KINDS: Mapping[str, type[Any]] = {
    **{
        kind.__name__: kind
        for kind in (
            Product, Norm, Block, Stack, Kept, Fourier, Chain, Encoder, Synthesizer, Decoder,
        )
    },
    "EncoderStates": c_void_p * (6 + CONTEXT),
    "DecoderStates": c_void_p * 11,
}  # fmt: skip
"""Structures by their names in C; states are the addresses of their tensors."""

CONSTANTS: Mapping[str, int] = {
    **FRAME_FORMAT,
    "CONTEXT": CONTEXT,
    "HISTORY": HISTORY,
    "MEL_WINDOW": MEL_WINDOW,
    "MEL_BANDS": MEL_BANDS,
    "MIN_LAG": MIN_LAG,
    "LAGS": LAGS,
    "PITCH_CLASSES": PITCH_CLASSES,
    "LEVELS": LEVELS,
    "SECTIONS": len(sections()),
    "SUBFRAMES": SUBFRAMES,
    "N_FFT": N_FFT,
    "NOISE_FRAMES": NOISE_FRAMES,
    "TOP_HARMONIC": int(TOP_HARMONIC),
    "LARGEST": LARGEST,
}
"""Constants by their names in C."""


def check(library: ctypes.CDLL) -> None:
    """Compares layouts and sizes of the library with those of Python. Raises ValueError with the
    first that differs."""
    for name, expected in CONSTANTS.items():
        found = constant(library, name)
        if found != expected:
            raise ValueError(f"expected a C library of {name} {expected}, got {found}")
    size = library.facodec_size
    size.argtypes, size.restype = [c_char_p], c_int64
    for name, kind in KINDS.items():
        expected, found = ctypes.sizeof(kind), size(name.encode())
        if found != expected:
            raise ValueError(f"expected a C library whose {name} has {expected} bytes, got {found}")


def constant(library: ctypes.CDLL, name: str) -> int:
    """A size that the library was compiled with; negative for an unknown name."""
    call = library.facodec_constant
    call.argtypes, call.restype = [c_char_p], c_int64
    return int(call(name.encode()))
