"""Opus through ctypes: speech at 16 kHz, mono, complexity 10."""

from __future__ import annotations

import ctypes
import ctypes.util

import numpy as np
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE

Integers = NDArray[np.int16]
OK = 0
APPLICATION_VOIP = 2048
SET_BITRATE, SET_COMPLEXITY, GET_LOOKAHEAD = 4002, 4010, 4027
COMPLEXITY = 10
MOST_PACKET = 1500


def library() -> ctypes.CDLL:
    """Returns libopus. Raises OSError where there is none."""
    path = ctypes.util.find_library("opus")
    if path is None:
        raise OSError("libopus is not installed")
    found = ctypes.CDLL(path)
    pointer = ctypes.c_void_p
    found.opus_encoder_create.restype = found.opus_decoder_create.restype = pointer
    found.opus_encode.argtypes = [pointer, pointer, ctypes.c_int, pointer, ctypes.c_int32]
    found.opus_decode.argtypes = [
        pointer, ctypes.c_char_p, ctypes.c_int32, pointer, ctypes.c_int, ctypes.c_int,
    ]  # fmt: skip
    found.opus_encode.restype = ctypes.c_int32
    return found


class OpusEncoder:
    """An encoder of ``bitrate`` bit/s. Raises OSError without libopus, RuntimeError where it
    refuses."""

    def __init__(self, bitrate: int) -> None:
        self._library = library()
        error = ctypes.c_int()
        made = self._library.opus_encoder_create(
            SAMPLE_RATE, 1, APPLICATION_VOIP, ctypes.byref(error)
        )
        if error.value != OK:
            raise RuntimeError(f"libopus made no encoder: error {error.value}")
        self._encoder = ctypes.c_void_p(made)
        self._packet = (ctypes.c_ubyte * MOST_PACKET)()
        for request, value in ((SET_BITRATE, bitrate), (SET_COMPLEXITY, COMPLEXITY)):
            self._library.opus_encoder_ctl(
                self._encoder, ctypes.c_int(request), ctypes.c_int(value)
            )

    @property
    def look_ahead(self) -> int:
        """Samples by which what is decoded lags behind what was encoded."""
        samples = ctypes.c_int32()
        self._library.opus_encoder_ctl(
            self._encoder, ctypes.c_int(GET_LOOKAHEAD), ctypes.byref(samples)
        )
        return samples.value

    def encode(self, frame: Integers) -> bytes:
        """A frame (n,) of 2.5 to 60 ms, contiguous -> a packet. Raises RuntimeError."""
        length = self._library.opus_encode(
            self._encoder, frame.ctypes.data, len(frame), self._packet, MOST_PACKET
        )
        if length < 0:
            raise RuntimeError(f"libopus could not encode: error {length}")
        return bytes(self._packet[:length])


class OpusDecoder:
    """A decoder of packets of ``size`` samples. Raises OSError without libopus, RuntimeError where
    it refuses."""

    def __init__(self, size: int) -> None:
        self._library = library()
        error = ctypes.c_int()
        made = self._library.opus_decoder_create(SAMPLE_RATE, 1, ctypes.byref(error))
        if error.value != OK:
            raise RuntimeError(f"libopus made no decoder: error {error.value}")
        self._decoder = ctypes.c_void_p(made)
        self._out = np.zeros(size, np.int16)

    def decode(self, packet: bytes | None) -> Integers:
        """A packet, or None for one that is lost -> its samples (size,), until the next call.
        Raises RuntimeError."""
        size = len(self._out)
        length = 0 if packet is None else len(packet)
        made = self._library.opus_decode(
            self._decoder, packet, length, self._out.ctypes.data, size, 0
        )
        if made != size:
            raise RuntimeError(f"libopus decoded {made} samples of {size}")
        return self._out


def as_integers(samples: NDArray[np.float32]) -> Integers:
    """Samples (n,) of full scale 1.0 in 16 bits."""
    return np.asarray(np.clip(samples, -1, 1) * 32767, np.int16)
