"""A voice in 124 bytes: the 256 floats, mixed so that none stands out, in 14 levels each.

A Walsh-Hadamard transform, after some signs are changed, spreads what one number says over all,
which then lie alike and fit one coarse scale. The first two bytes are the scale, float16; the other
122 hold 256 digits of base 14, the first the lowest, as one little-endian number. Digit d stands
for 2 d - 13; the voice is the transform of these whole numbers, with signs changed again, times the
scale: exact in float32.
Source: Jegou et al., "Product quantization for nearest neighbor search" (2011), on rotations before
scalar quantization.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.config import TIMBRE_DIM
from streaming.wire.messages import ProtocolError

LEVELS = 14
DIGIT_BYTES = 122
COMPACT_BYTES = 2 + DIGIT_BYTES
STEPS = np.linspace(0.12, 0.36, 17)
"""Scales tried, in units of the root mean square of what is quantized."""
LARGEST = float(np.finfo(np.float16).max)
_BITS = np.arange(TIMBRE_DIM)[:, None] >> np.arange(8) & 1
SIGNS = 1 - 2 * ((_BITS[:, ::2] & _BITS[:, 1::2]).sum(axis=1) % 2)
"""Signs (256,) as unlike any row of the transform as can be (a bent function)."""
_POWERS = [LEVELS**at for at in range(TIMBRE_DIM)]


def compact_voice(vector: NDArray[np.floating]) -> bytes:
    """vector (256,), finite -> 124 bytes, whose voice is as near as a few scales allow."""
    mixed = _transform(np.asarray(vector, np.float64) * SIGNS) / TIMBRE_DIM
    spread = float(np.sqrt(np.square(mixed).mean()))
    digits, scale, least = np.full(TIMBRE_DIM, LEVELS // 2), 0.0, np.inf
    for step in STEPS * spread if spread > 0 else ():
        found = np.clip(np.floor(mixed / (2 * step)) + LEVELS // 2, 0, LEVELS - 1).astype(np.int64)
        odd = 2 * found - (LEVELS - 1)
        best = np.float16(min(mixed @ odd / (odd @ odd), LARGEST))
        error = float(np.square(mixed - float(best) * odd).sum())
        if error < least:
            digits, scale, least = found, float(best), error
    number = sum(digit * power for digit, power in zip(digits.tolist(), _POWERS, strict=True))
    head: bytes = np.float16(scale).tobytes()
    return head + int(number).to_bytes(DIGIT_BYTES, "little")


def voice_from_compact(data: bytes) -> NDArray[np.float32]:
    """124 bytes -> vector (256,). Raises ProtocolError("bad-voice")."""
    whole = len(data) == COMPACT_BYTES
    scale = float(np.frombuffer(data[:2], "<f2")[0]) if whole else np.nan
    number = int.from_bytes(data[2:], "little")
    if not 0 <= scale < np.inf or number >= LEVELS**TIMBRE_DIM:
        raise ProtocolError(
            "bad-voice", f"expected {COMPACT_BYTES} bytes of a scale and 256 digits of base 14"
        )
    odd = np.empty(TIMBRE_DIM, np.int64)
    for at in range(TIMBRE_DIM):
        number, digit = divmod(number, LEVELS)
        odd[at] = 2 * digit - (LEVELS - 1)
    vector: NDArray[np.float32] = (_transform(odd) * SIGNS * scale).astype(np.float32)
    return vector


def _transform(values: NDArray[Any]) -> NDArray[Any]:
    """The Walsh-Hadamard transform (256,) in natural order; twice gives 256 times the values."""
    half = 1
    while half < TIMBRE_DIM:
        pairs = values.reshape(-1, 2, half)
        values = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        half *= 2
    return values.reshape(-1)
