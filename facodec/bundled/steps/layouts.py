"""Layouts of the constants that the steps in C read: each structure here is the one of the same
name in C."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_float, c_int64, c_void_p

from facodec.config import DETAIL_LAYERS


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
