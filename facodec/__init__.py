"""FACodec, streamed: a neural speech codec of 80 frames a second and 4.8 kbit/s."""

from facodec.codec import Codec, ConverterStream, DecoderStream, EncoderStream, Frames
from facodec.load import load

__all__ = ["Codec", "ConverterStream", "DecoderStream", "EncoderStream", "Frames", "load"]
