"""FACodec, streamed: a neural speech codec of 80 frames a second and 4.8 kbit/s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facodec import lazy, renamed

if TYPE_CHECKING:
    from facodec.codec import Codec, ConverterStream, DecoderStream, EncoderStream, Frames
    from facodec.extras import MissingExtra
    from facodec.loading import load
    from facodec.reasons import FileError
    from facodec.recording.whole import FacFile

renamed.install()

__version__ = "0.1.0"
__all__ = [
    "Codec",
    "ConverterStream",
    "DecoderStream",
    "EncoderStream",
    "FacFile",
    "FileError",
    "Frames",
    "MissingExtra",
    "__version__",
    "load",
]

__getattr__ = lazy.attributes(
    __name__,
    {
        "Codec": "facodec.codec",
        "ConverterStream": "facodec.codec",
        "DecoderStream": "facodec.codec",
        "EncoderStream": "facodec.codec",
        "FacFile": "facodec.recording.whole",
        "FileError": "facodec.files",
        "Frames": "facodec.codec",
        "MissingExtra": "facodec.extras",
        "load": "facodec.loading",
    },
)
