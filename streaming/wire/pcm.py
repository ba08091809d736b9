"""Sound as wire bytes and back."""

from __future__ import annotations

import numpy as np

from streaming.wire.messages import PcmFormat, ProtocolError


def pcm_to_bytes(samples: np.ndarray, pcm: PcmFormat) -> bytes:
    """float samples (n,), full scale 1.0 -> wire bytes; s16 is rounded and clipped."""
    if pcm == "f32":
        return np.asarray(samples, dtype="<f4").tobytes()
    scaled: np.ndarray = np.asarray(samples, dtype=np.float32) * np.float32(32768.0)
    np.rint(scaled, out=scaled)  # exact: what float32 cannot hold to a unit is clipped anyway
    return np.clip(scaled, -32768, 32767, out=scaled).astype("<i2").tobytes()


def pcm_from_bytes(data: bytes, pcm: PcmFormat) -> np.ndarray:
    """Wire bytes -> float32 samples (n,). Raises ProtocolError("bad-size") for half a sample."""
    width = 4 if pcm == "f32" else 2
    if len(data) % width:
        raise ProtocolError(
            "bad-size", f"expected {pcm} samples of {width} bytes each, got {len(data)} bytes"
        )
    if pcm == "f32":
        return np.frombuffer(data, dtype="<f4").astype(np.float32)
    samples: np.ndarray = np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(32768.0)
    return samples
