"""Frames in place of lost ones that go on as codes: repeated in part, or concealed.

Prosody and content, three of a frame's codes, are what words are made of. A repeat holds these
alone; the detail of the last frame that came is held beside them for who needs codes of all layers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facodec.bitstream import Codes, pack, packed_size, unpack
from facodec.config import MIN_LAYERS
from facodec.link.entropy import FrameCoder

SPOKEN_ON = 10
"""Frames of a gap, 125 ms, that are spoken: by then concealment has faded out."""


def pack_essence(codes: NDArray[np.integer], coder: FrameCoder | None) -> bytes:
    """Prosody and content of codes (K, n), in as few bytes as the ``coder`` can."""
    essence = codes[:MIN_LAYERS]
    return pack(essence) if coder is None else coder.encode(essence)


def unpack_essence(data: bytes, frames: int, coder: FrameCoder | None) -> Codes:
    """Inverse of :func:`pack_essence`: codes (3, n). Raises ValueError."""
    if coder is None:
        return unpack(data, layers=MIN_LAYERS, frames=frames)
    return coder.decode(data, MIN_LAYERS, frames)


def check_essence_size(size: int, frames: int, coder: FrameCoder | None) -> None:
    """Raises ValueError unless so many bytes can be the essence of so many frames."""
    plain = packed_size(MIN_LAYERS, frames)
    if size > plain or (size < plain and coder is None):
        raise ValueError(f"expected {plain} bytes for a repeat of {frames} frames, got {size}")


def widened(known: Codes, last: NDArray[np.integer] | None, layers: int) -> Codes:
    """Codes (layers, n) from the first of them (k, n), with the detail of the frame ``last``
    (layers,) held beyond these; None: no frame came before."""
    held = np.zeros(layers, np.int64) if last is None else last
    detail = np.repeat(held[len(known) : layers, None], known.shape[1], axis=1)
    return np.concatenate([known, detail.astype(np.int64)])


def spoken_on(last: NDArray[np.integer] | None, count: int, *, says_level: bool = True) -> Codes:
    """Prosody and content (3, count) of the first frames of a gap after the frame ``last`` (K,).
    ``says_level``: of its model, whose pitch then glides and whose level falls."""
    if last is None:
        return np.zeros((MIN_LAYERS, count), np.int64)
    if not says_level:
        return np.repeat(np.asarray(last[:MIN_LAYERS], np.int64)[:, None], count, axis=1)
    from facodec.link.concealment import concealed  # needs what computes the codec

    made = [concealed(last, missing)[:MIN_LAYERS] for missing in range(1, count + 1)]
    return np.concatenate([np.zeros((MIN_LAYERS, 0), np.int64), *made], axis=1)
