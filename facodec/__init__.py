"""FACodec, streamed: a neural speech codec of 80 frames a second and 4.8 kbit/s."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facodec.codec import Codec, ConverterStream, DecoderStream, EncoderStream, Frames
    from facodec.loading import load

__all__ = ["Codec", "ConverterStream", "DecoderStream", "EncoderStream", "Frames", "load"]


def __getattr__(name: str) -> Any:
    """Import torch only when a codec is really asked for: what needs no model starts fast."""
    if name not in __all__:
        raise AttributeError(f"module 'facodec' has no attribute {name!r}")
    import_module("numpy")  # torch's own import of it swallows a Ctrl-C
    return getattr(import_module("facodec.loading" if name == "load" else "facodec.codec"), name)
