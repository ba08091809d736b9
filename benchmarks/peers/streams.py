"""Other codecs beside ours, timed live: the smallest piece each one takes, a call at a time.

Weights are random where a codec is a network: computing time does not depend on their values.
Whatever is not installed is left out, with the reason.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import io
import logging
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from facodec.config import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    from facodec.codec import Codec

Call = Callable[[], object]
OPUS_OK = 0
OPUS_APPLICATION_VOIP = 2048
OPUS_SET_BITRATE, OPUS_SET_COMPLEXITY = 4002, 4010
OPUS_FRAME_MS = 20
OPUS_BITRATE, OPUS_COMPLEXITY = 9_000, 10
MOST_PACKET = 1500
ENCODEC_RATE, ENCODEC_SECONDS, ENCODEC_KBIT = 24_000, 1.0, 6.0
NAIVE_SECONDS = 1.0
"""Audio the naive way hands to the offline model again with every hop."""
FRAMES_OF_INPUT = 50


@dataclass(frozen=True)
class Peer:
    """``piece``: seconds of audio a call of ``encode`` and one of ``decode`` stand for. ``how``: in
    a phrase, what is measured."""

    name: str
    piece: float
    how: str
    encode: Call
    decode: Call


def find_peers(samples: np.ndarray) -> tuple[list[Peer], list[str]]:
    """The peers of this machine, fed with samples at 16 kHz, and why the others are left out."""
    peers, left_out = [], []
    for name, make in {"Opus": opus, "Mimi": mimi, "EnCodec 24 kHz": encodec}.items():
        try:
            peers.append(make(samples))
        except (ImportError, OSError, RuntimeError, AttributeError, TypeError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            left_out.append(f"{name} left out: {why}")
    return peers, left_out


def naive(codec: Codec, samples: np.ndarray) -> Peer:
    """The offline model over a sliding window, once per hop, and all but the last hop thrown
    away: what streaming costs without streaming layers."""
    size = int(NAIVE_SECONDS * SAMPLE_RATE) // HOP * HOP
    window = samples[:size]
    frames = codec.encode(window)
    return Peer(
        f"{codec.name}, naive",
        HOP / SAMPLE_RATE,
        f"offline model over the last {NAIVE_SECONDS:g} s, again with each hop",
        lambda: codec.encode(window),
        lambda: codec.decode(frames.codes, frames.timbre),
    )


# ------------------------------------------------------------------------------------------- Opus


def opus(samples: np.ndarray) -> Peer:
    """libopus through ctypes: 16 kHz mono, 20 ms frames, 9 kbit/s, complexity 10. Raises OSError
    where there is no libopus, RuntimeError where it refuses."""
    library = _libopus()
    encoder, decoder = _opus_encoder(library), _opus_decoder(library)
    size = SAMPLE_RATE * OPUS_FRAME_MS // 1000
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    frames = [np.ascontiguousarray(pcm[i * size : (i + 1) * size]) for i in range(FRAMES_OF_INPUT)]
    packet = (ctypes.c_ubyte * MOST_PACKET)()
    out = np.zeros(size, np.int16)
    packets: list[bytes] = []
    to_encode, to_decode = cycle(frames), cycle(packets)

    def encode() -> int:
        frame = next(to_encode)
        length = library.opus_encode(encoder, frame.ctypes.data, size, packet, MOST_PACKET)
        if length < 0:
            raise RuntimeError(f"libopus could not encode: error {length}")
        return int(length)

    for _ in frames:
        length = encode()
        packets.append(bytes(packet[:length]))

    def decode() -> int:
        data = next(to_decode)
        made = library.opus_decode(decoder, data, len(data), out.ctypes.data, size, 0)
        if made != size:
            raise RuntimeError(f"libopus decoded {made} samples of {size}")
        return int(made)

    return Peer(
        f"Opus {OPUS_BITRATE // 1000}",
        OPUS_FRAME_MS / 1000,
        f"libopus, {OPUS_FRAME_MS} ms frames at 16 kHz, complexity {OPUS_COMPLEXITY}",
        encode,
        decode,
    )


def _libopus() -> ctypes.CDLL:
    path = ctypes.util.find_library("opus")
    if path is None:
        raise OSError("libopus is not installed")
    library = ctypes.CDLL(path)
    pointer = ctypes.c_void_p
    library.opus_encoder_create.restype = library.opus_decoder_create.restype = pointer
    library.opus_encode.argtypes = [pointer, pointer, ctypes.c_int, pointer, ctypes.c_int32]
    library.opus_decode.argtypes = [
        pointer, ctypes.c_char_p, ctypes.c_int32, pointer, ctypes.c_int, ctypes.c_int,
    ]  # fmt: skip
    library.opus_encode.restype = ctypes.c_int32
    return library


def _opus_encoder(library: ctypes.CDLL) -> ctypes.c_void_p:
    error = ctypes.c_int()
    application = OPUS_APPLICATION_VOIP
    made = library.opus_encoder_create(SAMPLE_RATE, 1, application, ctypes.byref(error))
    encoder = ctypes.c_void_p(made)
    if error.value != OPUS_OK:
        raise RuntimeError(f"libopus made no encoder: error {error.value}")
    for request, value in (
        (OPUS_SET_BITRATE, OPUS_BITRATE),
        (OPUS_SET_COMPLEXITY, OPUS_COMPLEXITY),
    ):
        library.opus_encoder_ctl(encoder, ctypes.c_int(request), ctypes.c_int(value))
    return encoder


def _opus_decoder(library: ctypes.CDLL) -> ctypes.c_void_p:
    error = ctypes.c_int()
    decoder = ctypes.c_void_p(library.opus_decoder_create(SAMPLE_RATE, 1, ctypes.byref(error)))
    if error.value != OPUS_OK:
        raise RuntimeError(f"libopus made no decoder: error {error.value}")
    return decoder


# --------------------------------------------------------------------------------------- networks


def mimi(samples: np.ndarray) -> Peer:
    """Mimi as it streams: 80 ms frames at 24 kHz, 8 codebooks, random weights. Raises ImportError
    where the package ``moshi`` is missing."""
    import torch

    quiet = io.StringIO()
    with redirect_stdout(quiet), redirect_stderr(quiet):
        from moshi.models.loaders import get_mimi

        model = get_mimi(None, device="cpu").eval()
    model.requires_grad_(False)
    model.streaming_forever(1)
    size = model.frame_size
    sound = torch.from_numpy(_resampled(samples, model.sample_rate)).view(1, 1, -1)
    inputs = cycle(sound[..., : sound.shape[-1] // size * size].split(size, dim=-1))

    @torch.inference_mode()
    def encode() -> Any:
        return model.encode(next(inputs))

    codes = encode()

    @torch.inference_mode()
    def decode() -> object:
        return model.decode(codes)

    piece = size / model.sample_rate
    how = f"moshi, streaming, {piece * 1e3:.0f} ms frames at 24 kHz, random weights"
    return Peer("Mimi", piece, how, encode, decode)


def encodec(samples: np.ndarray) -> Peer:
    """EnCodec 24 kHz at 6 kbit/s, one second a call, as its code knows no streams; random weights.
    Raises ImportError where the package ``transformers`` is missing."""
    import torch

    logging.getLogger("transformers").setLevel(logging.ERROR)
    from transformers import EncodecConfig, EncodecModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = EncodecModel(EncodecConfig()).eval().requires_grad_(False)
    size = int(ENCODEC_SECONDS * ENCODEC_RATE)
    sound = torch.from_numpy(_resampled(samples, ENCODEC_RATE)[:size]).view(1, 1, -1)

    @torch.inference_mode()
    def encode() -> Any:
        return model.encode(sound, bandwidth=ENCODEC_KBIT)

    encoded = encode()

    @torch.inference_mode()
    def decode() -> object:
        codes, scales = encoded.audio_codes, encoded.audio_scales
        return model.decode(codes, scales, last_frame_pad_length=0)

    how = f"transformers, offline, {ENCODEC_SECONDS:g} s a call at 24 kHz, random weights"
    return Peer("EnCodec 24 kHz", ENCODEC_SECONDS, how, encode, decode)


def _resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    import soxr

    return np.asarray(soxr.resample(samples, SAMPLE_RATE, rate), dtype=np.float32)
